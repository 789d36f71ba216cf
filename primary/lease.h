/*
 * lease - a primary that its mirrors do not hear of stops writing, so that one of them may be
 * promoted by force without two primaries being written.
 *
 * Each mirror has to acknowledge, within the lease, a position that the primary reached within the
 * lease. When one does not (with a name: when that one does not), the database is made read-only
 * and its sessions are ended; when all do again, and no bucket tells of a higher epoch, it is
 * writable again. The heartbeat goes on meanwhile: there would be nothing to acknowledge without
 * it. A mirror that is given up must leave, or it holds the primary back. Whoever promotes by force
 * waits for the lease to end first, as counted from the last heartbeat that arrived.
 *
 * It holds while the agent runs: a server without its agent goes on writing.
 *
 * Threads   one
 * Blocking  lease_turn() on PostgreSQL
 * Units     milliseconds
 */
#ifndef PRIMARY_LEASE_H
#define PRIMARY_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/meta/pg.h"
#include "primary/slots.h"

struct lease {
    uint64_t ms;      /* 0: no lease */
    const char *site; /* NULL: every mirror counts */
    bool is_held_back;
};

/*
 * After a look at the slots. may_lift: the bucket has just said that this epoch is the last.
 * *wants_epoch asks for that to be found out before the next turn.
 */
MUST_CHECK enum rc lease_turn(struct lease *lease, struct pg *pg, const struct slots *slots,
                              bool may_lift, bool *wants_epoch, struct err *e);

#endif
