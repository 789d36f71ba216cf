#include "fs/meta/conn_pool.h"

#include <pthread.h>

#include "fs/base/clock.h"
#include "fs/meta/pg_impl.h"
#include "tests/unit/check.h"

static struct conn_pool pool_of(unsigned count)
{
    struct conn_pool pool;
    struct err e = ERR_INIT;
    CHECK_OK(conn_pool_init(&pool, count, &e), &e);
    return pool;
}

/* Connections that nobody talks to: what is tested is who gets which. */
static void open_conn(struct conn *conn)
{
    conn->pg = calloc(1, sizeof(*conn->pg));
    CHECK(conn->pg);
    conn->pg->socket = -1;
    lock_init(&conn->pg->lock, LOCK_META_CONN);
}

static struct conn *take(struct conn_pool *pool, bool is_long)
{
    struct conn *conn;
    bool is_unopened;
    struct err e = ERR_INIT;
    CHECK_OK(conn_take(pool, is_long, clock_ms(), &conn, &is_unopened, &e), &e);
    CHECK_EQ(is_unopened, conn->pg == NULL);
    if (is_unopened) {
        open_conn(conn);
        conn_opened(pool, conn, is_long);
    }
    return conn;
}

static bool is_none_left(struct conn_pool *pool)
{
    struct conn *conn;
    bool is_unopened;
    struct err e = ERR_INIT;
    return conn_take(pool, false, clock_deadline(10), &conn, &is_unopened, &e) == RC_UNAVAILABLE;
}

TEST("each call gets a connection of its own while there is one, then the emptiest is shared")
{
    struct conn_pool pool = pool_of(2);
    struct conn *first = take(&pool, false), *second = take(&pool, false);
    CHECK(first != second);
    struct conn *third = take(&pool, false), *fourth = take(&pool, false);
    CHECK(third != fourth);
    CHECK_EQ(third->users, 2);
    conn_give(&pool, second, false);
    conn_give(&pool, second, false);
    CHECK(take(&pool, false) == second);
    conn_give(&pool, first, false);
    conn_give(&pool, first, false);
    conn_give(&pool, second, false);
    conn_pool_deinit(&pool);
}

TEST("nobody joins a long call, nor a connection that is being opened or was lost")
{
    struct conn_pool pool = pool_of(1);
    struct conn *conn = take(&pool, true);
    CHECK(is_none_left(&pool));
    conn_give(&pool, conn, true);

    conn = take(&pool, false);
    CHECK(take(&pool, true) == conn); /* it may come behind a short one */
    CHECK(is_none_left(&pool));
    conn_give(&pool, conn, true);
    CHECK(take(&pool, false) == conn);
    pg_give_up(conn->pg);
    CHECK(is_none_left(&pool));
    conn_give(&pool, conn, false);
    CHECK(is_none_left(&pool));
    conn_give(&pool, conn, false);

    bool is_unopened;
    struct err e = ERR_INIT;
    CHECK_OK(conn_take(&pool, false, clock_ms(), &conn, &is_unopened, &e), &e);
    CHECK(is_unopened);
    CHECK(is_none_left(&pool));
    conn_give(&pool, conn, false);
    conn_pool_deinit(&pool);
}

TEST("long calls leave one connection to the others")
{
    struct conn_pool pool = pool_of(3);
    struct conn *a = take(&pool, true), *b = take(&pool, true), *late;
    bool is_unopened;
    struct err e = ERR_INIT;
    CHECK_RC(conn_take(&pool, true, clock_deadline(10), &late, &is_unopened, &e), RC_UNAVAILABLE);
    struct conn *c = take(&pool, false);
    CHECK(take(&pool, false) == c);
    conn_give(&pool, a, true);
    CHECK(take(&pool, true) == a);
    conn_give(&pool, a, true);
    conn_give(&pool, b, true);
    conn_give(&pool, c, false);
    conn_give(&pool, c, false);
    conn_pool_deinit(&pool);
}

TEST("the connection that was used last is taken first, so that the others fall idle")
{
    struct conn_pool pool = pool_of(3);
    struct conn *a = take(&pool, false), *b = take(&pool, false);
    conn_give(&pool, a, false);
    clock_sleep_until(clock_deadline(2));
    conn_give(&pool, b, false);
    struct conn *again = take(&pool, false);
    CHECK(again == b);
    conn_give(&pool, again, false);
    conn_pool_trim(&pool, 0);
    CHECK(b->pg && !a->pg);
    conn_pool_deinit(&pool);
}

static void *give_back_soon(void *arg)
{
    struct conn_pool *pool = arg;
    clock_sleep_until(clock_deadline(20));
    conn_give(pool, &pool->conns[0], true);
    return NULL;
}

TEST("who waits gets the connection that is given back")
{
    struct conn_pool pool = pool_of(1);
    struct conn *held = take(&pool, true), *got;
    struct err e = ERR_INIT;
    bool is_unopened;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, give_back_soon, &pool), 0);
    CHECK_OK(conn_take(&pool, false, clock_deadline(10000), &got, &is_unopened, &e), &e);
    CHECK(got == held);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    conn_give(&pool, got, false);
    conn_pool_deinit(&pool);
}
