#include "fs/meta/conn_pool.h"

#include <stdlib.h>

#include "fs/base/clock.h"

enum rc conn_pool_init(struct conn_pool *pool, unsigned count, struct err *e)
{
    *pool = (struct conn_pool){.count = count};
    pool->conns = calloc(count, sizeof(*pool->conns));
    if (!pool->conns)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    lock_init(&pool->lock, LOCK_META_POOL);
    lock_cond_init(&pool->given_back);
    return RC_OK;
}

void conn_pool_deinit(struct conn_pool *pool)
{
    if (!pool->conns)
        return;
    for (unsigned i = 0; i < pool->count; i++)
        pg_close(&pool->conns[i].pg);
    free(pool->conns);
    pool->conns = NULL;
    lock_cond_deinit(&pool->given_back);
    lock_deinit(&pool->lock);
}

/* Connected ones first, and of those the one used last, so that the others can fall idle. */
static struct conn *best_free_locked(struct conn_pool *pool)
{
    struct conn *best = NULL;
    for (unsigned i = 0; i < pool->count; i++) {
        struct conn *c = &pool->conns[i];
        if (c->is_taken)
            continue;
        if (!best || (c->pg && !best->pg) ||
            (!!c->pg == !!best->pg && c->given_back_ms > best->given_back_ms))
            best = c;
    }
    return best;
}

enum rc conn_take(struct conn_pool *pool, uint64_t deadline_ms, struct conn **out, struct err *e)
{
    LOCK_SCOPE(&pool->lock);
    struct conn *conn;
    while ((conn = best_free_locked(pool)) == NULL)
        if (!lock_wait(&pool->given_back, &pool->lock, deadline_ms))
            return err_fail(e, RC_UNAVAILABLE, "all %u metadata connections are busy", pool->count);
    conn->is_taken = true;
    *out = conn;
    return RC_OK;
}

void conn_give(struct conn_pool *pool, struct conn *conn)
{
    LOCK_SCOPE(&pool->lock);
    conn->is_taken = false;
    conn->given_back_ms = clock_ms();
    lock_signal(&pool->given_back);
}

/* Take an idle connection out of its slot; NULL when none is left. */
static struct pg *pick_idle(struct conn_pool *pool, uint64_t before_ms)
{
    LOCK_SCOPE(&pool->lock);
    struct conn *keep = best_free_locked(pool);
    for (unsigned i = 0; i < pool->count; i++) {
        struct conn *c = &pool->conns[i];
        if (c == keep || c->is_taken || !c->pg || c->given_back_ms > before_ms)
            continue;
        struct pg *pg = c->pg;
        c->pg = NULL;
        return pg;
    }
    return NULL;
}

void conn_pool_trim(struct conn_pool *pool, uint64_t idle_ms)
{
    const uint64_t now = clock_ms();
    const uint64_t before_ms = now > idle_ms ? now - idle_ms : 0;
    struct pg *pg;
    while ((pg = pick_idle(pool, before_ms)) != NULL)
        pg_close(&pg);
}
