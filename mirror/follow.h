/*
 * follow - from a subscription to a consistent mirror: the first copy, then the orders to copy
 * blocks, then a marker of the primary that has to arrive.
 *
 * Every step may be repeated, by another process too: a join that was killed is finished by the
 * next one or by the agent.
 *
 * Threads   one
 * Blocking  on both PostgreSQL servers
 */
#ifndef MIRROR_FOLLOW_H
#define MIRROR_FOLLOW_H

#include <stdbool.h>

#include "fs/base/json.h"
#include "fs/meta/pg.h"

/* Bytes that each table has at the primary. */
struct copy_plan;
MUST_CHECK enum rc copy_plan_make(struct copy_plan **out, struct pg *primary, struct err *e);
void copy_plan_free(struct copy_plan **plan);

struct copy_sight {
    uint64_t bytes_done, bytes_total;
    uint64_t rows_done, rows_total; /* as the planner of the primary estimates them */
    int tables_ready, tables_total;
};
/* How far the first copy is. plan NULL: bytes are not known. Names each table that became ready. */
MUST_CHECK enum rc copy_look(struct copy_plan *plan, struct pg *own, struct copy_sight *out,
                             struct err *e);

/* Set the member "copy" of the status document. */
MUST_CHECK enum rc copy_show(const struct copy_sight *sight, struct json *document, struct err *e);

/* Write the marker name at the primary; *value, made in *epoch (NULL: not asked), has to arrive. */
MUST_CHECK enum rc mark_write(struct pg *primary, const char *name, int64_t *value, int64_t *epoch,
                              struct err *e);
/* The same for the marker of the site's join. */
MUST_CHECK enum rc marker_write(struct pg *primary, const char *site, int64_t *value,
                                struct err *e);
/* Has it arrived here? */
MUST_CHECK enum rc marker_arrived(struct pg *own, const char *site, int64_t value, bool *out,
                                  struct err *e);

/* Every table is copied: begin the orders to copy blocks. */
MUST_CHECK enum rc follow_copied(struct pg *own, struct err *e);
/* The marker has arrived: the mirror may be mounted. */
MUST_CHECK enum rc follow_ready(struct pg *own, struct err *e);

#endif
