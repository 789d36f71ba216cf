/*
 * tail - what a database that was primary has committed and nobody has applied: the messages of
 * pgoutput (protocol 1) as its replication slot keeps them, one JSON object for each changed row.
 *
 *   {"commit": "0/1A2B3C8", "at": "2026-11-22T14:40:00.123456Z", "xid": 731,
 *    "table": "public.jfs_edge", "op": "insert" | "update" | "delete" | "truncate",
 *    "key": {…} (of an update that changed it, and of a delete), "row": {…} (what it became)}
 *
 * Values are as PostgreSQL prints them; a value that an update did not change and that is stored
 * apart is left out.
 *
 * Threads   one reader, one thread
 * Blocking  never
 * Source    PostgreSQL: Logical Replication Message Formats
 */
#ifndef MIRROR_TAIL_H
#define MIRROR_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/json.h"

struct tail;

/* One changed row: *line is the visitor's to take. end_lsn: all up to there has been visited. */
typedef enum rc (*tail_visit)(struct json **line, void *arg, struct err *e);

struct tail_sums {
    int64_t commits, inserts, updates, deletes;
    uint64_t end_lsn;         /* behind the last commit that was read whole */
    char first[32], last[32]; /* when the first and the last were committed; "": none */
};

/* Leave out what was committed before applied_lsn. */
MUST_CHECK enum rc tail_open(struct tail **out, uint64_t applied_lsn, struct err *e);
void tail_close(struct tail **tail);

/* Take one message, in order. visit NULL: only count. RC_CORRUPT: it is no such message. */
MUST_CHECK enum rc tail_feed(struct tail *tail, struct bytes message, tail_visit visit, void *arg,
                             struct err *e);

const struct tail_sums *tail_sums(const struct tail *tail);

#endif
