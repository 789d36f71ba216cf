#include "fs/base/pool.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "tests/unit/check.h"

/* A gate that jobs wait at until the test opens it. */
struct gate {
    struct lock lock;
    struct lock_cond changed;
    bool is_open;
    unsigned waiting;
    unsigned passed;
};

static void gate_init(struct gate *g)
{
    *g = (struct gate){0};
    lock_init(&g->lock, LOCK_STORE);
    lock_cond_init(&g->changed);
}

static void gate_deinit(struct gate *g)
{
    lock_cond_deinit(&g->changed);
    lock_deinit(&g->lock);
}

static void pass(void *arg)
{
    struct gate *g = arg;
    LOCK_SCOPE(&g->lock);
    g->waiting++;
    lock_broadcast(&g->changed);
    while (!g->is_open)
        (void)lock_wait(&g->changed, &g->lock, CLOCK_FOREVER_MS);
    g->waiting--;
    g->passed++;
}

static void gate_open(struct gate *g)
{
    LOCK_SCOPE(&g->lock);
    g->is_open = true;
    lock_broadcast(&g->changed);
}

static bool is_waited_for_by(struct gate *g, unsigned count)
{
    uint64_t deadline_ms = clock_deadline(10000);
    LOCK_SCOPE(&g->lock);
    while (g->waiting < count)
        if (!lock_wait(&g->changed, &g->lock, deadline_ms))
            return false;
    return true;
}

static struct pool *open_pool(unsigned threads, size_t queued)
{
    struct err e;
    struct pool *pool = NULL;
    const struct pool_options options = {
        .name = "test", .max_threads = threads, .max_queued = queued};
    CHECK_OK(pool_open(&pool, &options, &e), &e);
    return pool;
}

TEST("a full queue answers unavailable at once, and what was taken is done")
{
    struct err e;
    struct gate gate;
    gate_init(&gate);
    struct pool *pool = open_pool(2, 3);
    for (int i = 0; i < 2; i++)
        CHECK_OK(pool_submit(pool, pass, &gate, &e), &e);
    CHECK(is_waited_for_by(&gate, 2));
    for (int i = 0; i < 3; i++)
        CHECK_OK(pool_submit(pool, pass, &gate, &e), &e);
    CHECK_RC(pool_submit(pool, pass, &gate, &e), RC_UNAVAILABLE);
    CHECK_EQ(gate.waiting, 2);
    gate_open(&gate);
    pool_drain(pool);
    CHECK_EQ(gate.passed, 5);
    CHECK_OK(pool_submit(pool, pass, &gate, &e), &e);
    pool_close(&pool);
    CHECK(pool == NULL);
    CHECK_EQ(gate.passed, 6);
    pool_close(&pool);
    gate_deinit(&gate);
}

TEST("threads are started up to the maximum while jobs block")
{
    struct err e;
    struct gate gate;
    gate_init(&gate);
    struct pool *pool = open_pool(8, 8);
    for (int i = 0; i < 8; i++)
        CHECK_OK(pool_submit(pool, pass, &gate, &e), &e);
    CHECK(is_waited_for_by(&gate, 8));
    gate_open(&gate);
    pool_close(&pool);
    gate_deinit(&gate);
}

static _Atomic unsigned count;

static void count_up(void *arg)
{
    (void)arg;
    atomic_fetch_add(&count, 1);
}

struct submitter {
    struct pool *pool;
    unsigned refused;
};

static void *submit_many(void *arg)
{
    struct submitter *s = arg;
    for (int i = 0; i < 5000; i++) {
        struct err e;
        if (pool_submit(s->pool, count_up, NULL, &e))
            s->refused++;
    }
    return NULL;
}

TEST("every job that was taken runs exactly once, from many threads at once")
{
    struct pool *pool = open_pool(4, 16);
    struct submitter submitters[4] = {0};
    pthread_t threads[4];
    unsigned refused = 0;
    atomic_store(&count, 0);
    for (int i = 0; i < 4; i++) {
        submitters[i].pool = pool;
        CHECK_EQ(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        refused += submitters[i].refused;
    }
    pool_close(&pool);
    CHECK_EQ(atomic_load(&count) + refused, 20000);
}

TEST("a pool without threads or queue is refused")
{
    struct err e;
    struct pool *pool = NULL;
    const struct pool_options no_threads = {.name = "x", .max_threads = 0, .max_queued = 1};
    const struct pool_options no_queue = {.name = "x", .max_threads = 1, .max_queued = 0};
    CHECK_RC(pool_open(&pool, &no_threads, &e), RC_INVALID);
    CHECK_RC(pool_open(&pool, &no_queue, &e), RC_INVALID);
}
