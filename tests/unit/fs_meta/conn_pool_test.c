#include "fs/meta/conn_pool.h"

#include <pthread.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"

TEST("as many connections are given as there are, then a deadline passes")
{
    struct conn_pool pool;
    struct conn *first, *second, *third;
    struct err e = ERR_INIT;
    CHECK_OK(conn_pool_init(&pool, 2, &e), &e);
    CHECK_OK(conn_take(&pool, clock_ms(), &first, &e), &e);
    CHECK_OK(conn_take(&pool, clock_ms(), &second, &e), &e);
    CHECK(first != second);
    CHECK_RC(conn_take(&pool, clock_deadline(20), &third, &e), RC_UNAVAILABLE);
    conn_give(&pool, first);
    CHECK_OK(conn_take(&pool, clock_ms(), &third, &e), &e);
    CHECK(third == first);
    conn_pool_deinit(&pool);
}

TEST("the connection that was used last is taken first, so that the others fall idle")
{
    struct conn_pool pool;
    struct conn *a, *b, *again;
    struct err e = ERR_INIT;
    CHECK_OK(conn_pool_init(&pool, 3, &e), &e);
    CHECK_OK(conn_take(&pool, clock_ms(), &a, &e), &e);
    CHECK_OK(conn_take(&pool, clock_ms(), &b, &e), &e);
    conn_give(&pool, a);
    clock_sleep_until(clock_deadline(2));
    conn_give(&pool, b);
    CHECK_OK(conn_take(&pool, clock_ms(), &again, &e), &e);
    CHECK(again == b);
    conn_pool_deinit(&pool);
}

static void *give_back_soon(void *arg)
{
    struct conn_pool *pool = arg;
    clock_sleep_until(clock_deadline(20));
    conn_give(pool, &pool->conns[0]);
    return NULL;
}

TEST("who waits gets the connection that is given back")
{
    struct conn_pool pool;
    struct conn *held, *got;
    struct err e = ERR_INIT;
    pthread_t thread;
    CHECK_OK(conn_pool_init(&pool, 1, &e), &e);
    CHECK_OK(conn_take(&pool, clock_ms(), &held, &e), &e);
    CHECK_EQ(pthread_create(&thread, NULL, give_back_soon, &pool), 0);
    CHECK_OK(conn_take(&pool, clock_deadline(10000), &got, &e), &e);
    CHECK(got == held);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    conn_pool_deinit(&pool);
}
