#include "fs/base/pool.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/metric.h"
#include "fs/base/thread.h"

#define IDLE_MS      10000
#define MOST_THREADS 256
#define LABEL_BYTES  32

struct work {
    pool_job job;
    void *arg;
};

/*
 * Threads are detached and counted: whoever ends last says so, and pool_close() waits for that.
 * Joining instead would need a list of those that ended of idleness, and somebody to join them.
 */
struct pool {
    /* set at open */
    char name[16];
    char label[LABEL_BYTES];
    unsigned max_threads;
    size_t max_queued;
    size_t stack_bytes;

    /* shared */
    struct lock lock;
    struct lock_cond work_came;
    struct lock_cond state_changed; /* a job or a thread ended */
    struct work *ring;              /* max_queued slots */
    size_t first;
    size_t queued;
    unsigned threads;
    unsigned idle;
    unsigned running;
    unsigned started; /* ever: numbers the threads' names */
    bool is_closing;

    struct metric queued_now;
    struct metric threads_now;
    struct metric refused;
};

static void show_metrics(struct pool *pool)
{
    pool->queued_now = (struct metric){.name = "tarn_pool_queued_jobs",
                                       .labels = pool->label,
                                       .help = "Jobs that wait for a worker thread.",
                                       .type = METRIC_GAUGE};
    pool->threads_now = (struct metric){.name = "tarn_pool_threads",
                                        .labels = pool->label,
                                        .help = "Worker threads of the pool.",
                                        .type = METRIC_GAUGE};
    pool->refused = (struct metric){.name = "tarn_pool_refused_total",
                                    .labels = pool->label,
                                    .help = "Jobs refused because the queue was full.",
                                    .type = METRIC_COUNTER};
    metric_register(&pool->queued_now);
    metric_register(&pool->threads_now);
    metric_register(&pool->refused);
}

static void hide_metrics(struct pool *pool)
{
    metric_unregister(&pool->queued_now);
    metric_unregister(&pool->threads_now);
    metric_unregister(&pool->refused);
}

enum rc pool_open(struct pool **out, const struct pool_options *options, struct err *e)
{
    if (options->max_threads < 1 || options->max_threads > MOST_THREADS || options->max_queued < 1)
        return err_fail(e, RC_INVALID, "pool \"%s\" needs 1 to %d threads and a queue",
                        options->name, MOST_THREADS);

    struct pool *pool = calloc(1, sizeof(*pool));
    struct work *ring = calloc(options->max_queued, sizeof(*ring));
    if (!pool || !ring) {
        free(pool);
        free(ring);
        return err_fail(e, RC_NO_SPACE, "out of memory for pool \"%s\"", options->name);
    }
    (void)snprintf(pool->name, sizeof(pool->name), "%s", options->name);
    (void)snprintf(pool->label, sizeof(pool->label), "pool=\"%s\"", pool->name);
    pool->max_threads = options->max_threads;
    pool->max_queued = options->max_queued;
    pool->stack_bytes = options->stack_bytes;
    pool->ring = ring;
    lock_init(&pool->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&pool->work_came);
    lock_cond_init(&pool->state_changed);
    show_metrics(pool);
    *out = pool;
    return RC_OK;
}

/* Wait for work. False: idle for long enough, or closing with nothing left. */
static bool await_work_locked(struct pool *pool)
{
    uint64_t deadline_ms = clock_deadline(IDLE_MS);
    bool is_in_time = true;
    while (pool->queued == 0 && !pool->is_closing && is_in_time) {
        pool->idle++;
        is_in_time = lock_wait(&pool->work_came, &pool->lock, deadline_ms);
        pool->idle--;
    }
    return pool->queued > 0;
}

static struct work take_work_locked(struct pool *pool)
{
    struct work work = pool->ring[pool->first];
    pool->first = (pool->first + 1) % pool->max_queued;
    pool->queued--;
    metric_set(&pool->queued_now, (int64_t)pool->queued);
    return work;
}

static void *worker(void *arg)
{
    struct pool *pool = arg;
    lock_take(&pool->lock);
    while (await_work_locked(pool)) {
        struct work work = take_work_locked(pool);
        pool->running++;
        lock_drop(&pool->lock);

        work.job(work.arg);

        lock_take(&pool->lock);
        pool->running--;
        lock_broadcast(&pool->state_changed);
    }
    pool->threads--;
    metric_set(&pool->threads_now, pool->threads);
    lock_broadcast(&pool->state_changed);
    lock_drop(&pool->lock); /* the pool may be gone from here on */
    return NULL;
}

/*
 * Started under the lock: a new thread needs it before it can do anything, so neither its name
 * nor its handle can be used too late.
 */
static enum rc start_thread_locked(struct pool *pool, struct err *e)
{
    pthread_t thread;
    char name[32];
    (void)snprintf(name, sizeof(name), "%.11s/%u", pool->name, pool->started % 1000);
    enum rc rc = thread_start(&thread, name, pool->stack_bytes, worker, pool, e);
    if (rc)
        return rc;
    (void)pthread_detach(thread);
    pool->started++;
    pool->threads++;
    metric_set(&pool->threads_now, pool->threads);
    return RC_OK;
}

static enum rc submit_locked(struct pool *pool, struct work work, struct err *e)
{
    if (pool->is_closing)
        return err_fail(e, RC_UNAVAILABLE, "pool \"%s\" is closing", pool->name);
    if (pool->queued == pool->max_queued) {
        metric_add(&pool->refused, 1);
        return err_fail(e, RC_UNAVAILABLE, "pool \"%s\" has %zu jobs waiting already", pool->name,
                        pool->queued);
    }
    /* Fewer threads than wished for is not an error, as long as there is one. */
    bool is_short = pool->queued >= pool->idle && pool->threads < pool->max_threads;
    if (is_short && start_thread_locked(pool, e) && pool->threads == 0)
        return e->code = RC_UNAVAILABLE;

    pool->ring[(pool->first + pool->queued) % pool->max_queued] = work;
    pool->queued++;
    metric_set(&pool->queued_now, (int64_t)pool->queued);
    lock_signal(&pool->work_came);
    return RC_OK;
}

enum rc pool_submit(struct pool *pool, pool_job job, void *arg, struct err *e)
{
    LOCK_SCOPE(&pool->lock);
    return submit_locked(pool, (struct work){job, arg}, e);
}

void pool_drain(struct pool *pool)
{
    LOCK_SCOPE(&pool->lock);
    while (pool->queued > 0 || pool->running > 0)
        (void)lock_wait(&pool->state_changed, &pool->lock, CLOCK_FOREVER_MS);
}

static void end_threads(struct pool *pool)
{
    LOCK_SCOPE(&pool->lock);
    pool->is_closing = true;
    lock_broadcast(&pool->work_came);
    while (pool->threads > 0)
        (void)lock_wait(&pool->state_changed, &pool->lock, CLOCK_FOREVER_MS);
}

void pool_close(struct pool **pool)
{
    struct pool *p = *pool;
    *pool = NULL;
    if (!p)
        return;
    end_threads(p);
    assert(p->queued == 0);
    hide_metrics(p);
    lock_cond_deinit(&p->work_came);
    lock_cond_deinit(&p->state_changed);
    lock_deinit(&p->lock);
    free(p->ring);
    free(p);
}
