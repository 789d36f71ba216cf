/*
 * slots - the replication slots of this volume's mirrors: lag in bytes and seconds, changes of
 * state in the log, metrics for each slot.
 *
 * Threads   one
 * Blocking  slots_look() asks PostgreSQL
 */
#ifndef PRIMARY_SLOTS_H
#define PRIMARY_SLOTS_H

#include "fs/base/err.h"
#include "fs/base/json.h"
#include "fs/meta/pg.h"

struct slots;

MUST_CHECK enum rc slots_open(struct slots **out, struct err *e);
void slots_close(struct slots **slots);

/* Look at every slot and append an object for each to list. */
MUST_CHECK enum rc slots_look(struct slots *slots, struct pg *pg, struct json *list, struct err *e);

/*
 * For how long, in milliseconds, the most silent mirror has not caught up with the primary (site:
 * that one alone), as of the last look. Never too little. 0: there is none.
 */
uint64_t slots_silence(const struct slots *slots, const char *site);

#endif
