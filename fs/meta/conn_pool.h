/*
 * conn_pool - the connections of one mount: few, made when needed, closed when idle, shared when
 * busy.
 *
 * A call gets a connection of its own while there is a free one or room for one more. Beyond that,
 * calls share connections (pg_call_shared()), so that the number of calls on their way to a far
 * server is not that of its backends. They queue up there behind one another, which is good for
 * calls of a millisecond and bad behind one of a minute: a long call may come behind others, but
 * nobody joins it, and one connection is left to the short ones.
 *
 *   state   users   is_open   is_closed   who may take it
 *   empty   0       no        no          one, who connects; until conn_opened() nobody joins
 *   idle    0       yes       no          anybody
 *   shared  1…      yes       no          anybody, when there is no idle and no empty one
 *   closed  1…      any       yes         nobody: it is being opened, or has a long call
 *   lost    1…      no        any         nobody; empty after the last has given it back
 *
 * The pool never waits for the network.
 *
 * Threads any · Blocking conn_take() waits for a connection until its deadline
 */
#ifndef FS_META_CONN_POOL_H
#define FS_META_CONN_POOL_H

#include "fs/base/lock.h"
#include "fs/meta/pg.h"

struct conn {
    struct pg *pg; /* NULL: not connected. Replaced by its only user, before conn_opened() */

    /* the pool's */
    unsigned users;
    bool is_closed;
    uint64_t given_back_ms;
};

struct conn_pool {
    struct lock lock;
    struct lock_cond given_back;
    struct conn *conns;  /* shared */
    unsigned long_calls; /* shared */
    unsigned count;      /* set at open */
};

MUST_CHECK enum rc conn_pool_init(struct conn_pool *pool, unsigned count, struct err *e);
/* Close all connections; none may be taken. */
void conn_pool_deinit(struct conn_pool *pool);

/*
 * Take the best connection for a call. *is_unopened: the caller is alone with it, and opens it or
 * gives it back. RC_UNAVAILABLE: nothing can be taken until deadline_ms.
 */
MUST_CHECK enum rc conn_take(struct conn_pool *pool, bool is_long, uint64_t deadline_ms,
                             struct conn **out, bool *is_unopened, struct err *e);
/* The pg of a connection that was taken unopened is open now: others may join, but for a long call.
 */
void conn_opened(struct conn_pool *pool, struct conn *conn, bool is_long);
/* is_long as it was taken. */
void conn_give(struct conn_pool *pool, struct conn *conn, bool is_long);

/* Close those that nobody has used for idle_ms, but for the one used last. */
void conn_pool_trim(struct conn_pool *pool, uint64_t idle_ms);

#endif
