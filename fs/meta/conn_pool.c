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

/* Of those that nobody has: a connected one, and the one used last, so that the others fall idle.
 */
static struct conn *best_free_locked(struct conn_pool *pool)
{
    struct conn *best = NULL;
    for (unsigned i = 0; i < pool->count; i++) {
        struct conn *c = &pool->conns[i];
        if (c->users > 0)
            continue;
        if (!best || (c->pg && !best->pg) ||
            (!!c->pg == !!best->pg && c->given_back_ms > best->given_back_ms))
            best = c;
    }
    return best;
}

/* Of those that others have, the one with the fewest. */
static struct conn *best_shared_locked(struct conn_pool *pool)
{
    struct conn *best = NULL;
    for (unsigned i = 0; i < pool->count; i++) {
        struct conn *c = &pool->conns[i];
        if (c->users > 0 && !c->is_closed && pg_is_open(c->pg) && (!best || c->users < best->users))
            best = c;
    }
    return best;
}

/* Long calls leave a connection to the others, when there is more than one. */
static struct conn *best_locked(struct conn_pool *pool, bool is_long)
{
    if (is_long && pool->long_calls > 0 && pool->long_calls + 1 >= pool->count)
        return NULL;
    struct conn *free_one = best_free_locked(pool);
    return free_one ? free_one : best_shared_locked(pool);
}

enum rc conn_take(struct conn_pool *pool, bool is_long, uint64_t deadline_ms, struct conn **out,
                  bool *is_unopened, struct err *e)
{
    LOCK_SCOPE(&pool->lock);
    struct conn *conn;
    while ((conn = best_locked(pool, is_long)) == NULL)
        if (!lock_wait(&pool->given_back, &pool->lock, deadline_ms))
            return err_fail(e, RC_UNAVAILABLE, "all %u metadata connections are busy", pool->count);
    *is_unopened = conn->users == 0 && !pg_is_open(conn->pg);
    conn->is_closed = is_long || *is_unopened;
    conn->users++;
    pool->long_calls += is_long;
    *out = conn;
    return RC_OK;
}

void conn_opened(struct conn_pool *pool, struct conn *conn, bool is_long)
{
    LOCK_SCOPE(&pool->lock);
    conn->is_closed = is_long;
    lock_broadcast(&pool->given_back);
}

void conn_give(struct conn_pool *pool, struct conn *conn, bool is_long)
{
    LOCK_SCOPE(&pool->lock);
    conn->users--;
    pool->long_calls -= is_long;
    /* It was closed for this call, or is lost and matters to nobody before it is empty. */
    if (is_long || conn->users == 0)
        conn->is_closed = false;
    conn->given_back_ms = clock_ms();
    lock_broadcast(&pool->given_back);
}

/* Take an idle connection out of its slot; NULL when none is left. */
static struct pg *pick_idle(struct conn_pool *pool, uint64_t before_ms)
{
    LOCK_SCOPE(&pool->lock);
    struct conn *keep = best_free_locked(pool);
    for (unsigned i = 0; i < pool->count; i++) {
        struct conn *c = &pool->conns[i];
        if (c == keep || c->users > 0 || !c->pg || c->given_back_ms > before_ms)
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
