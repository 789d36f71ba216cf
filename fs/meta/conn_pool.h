/*
 * conn_pool - the connections of one mount: few, made when needed, closed when idle.
 *
 * Whoever takes a connection has it alone until giving it back, and opens or reopens it himself:
 * the pool never waits for the network.
 *
 * Threads any · Blocking conn_take() waits for a free connection until its deadline
 */
#ifndef FS_META_CONN_POOL_H
#define FS_META_CONN_POOL_H

#include "fs/base/lock.h"
#include "fs/meta/lane.h"
#include "fs/meta/pg.h"

struct conn {
    /* the holder's */
    struct pg *pg;    /* NULL: not connected */
    struct lane lane; /* the mutations sent through this connection */

    /* the pool's */
    bool is_taken;
    uint64_t given_back_ms;
};

struct conn_pool {
    struct lock lock;
    struct lock_cond given_back;
    struct conn *conns; /* shared: is_taken and given_back_ms */
    unsigned count;     /* set at open */
};

MUST_CHECK enum rc conn_pool_init(struct conn_pool *pool, unsigned count, struct err *e);
/* Close all connections; none may be taken. */
void conn_pool_deinit(struct conn_pool *pool);

/* Take the most recently used free connection. RC_UNAVAILABLE: all busy until deadline_ms. */
MUST_CHECK enum rc conn_take(struct conn_pool *pool, uint64_t deadline_ms, struct conn **out,
                             struct err *e);
void conn_give(struct conn_pool *pool, struct conn *conn);

/* Close those that nobody has used for idle_ms, but for the one used last. */
void conn_pool_trim(struct conn_pool *pool, uint64_t idle_ms);

#endif
