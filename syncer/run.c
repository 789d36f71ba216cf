/*
 * The coordinator is the only one that polls: it wakes the workers when an order is due, so that an
 * idle syncer costs PostgreSQL ten small queries a second whatever the number of workers.
 */
#include "syncer/run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/daemon.h"
#include "fs/base/http.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/loop.h"
#include "fs/base/metric.h"
#include "fs/base/thread.h"
#include "syncer/copy.h"
#include "syncer/queue.h"
#include "syncer/report.h"
#include "syncer/sweep.h"

#define POLL_MS    100
#define BACKLOG_MS 1000
#define PAUSE_MS   1000
#define FORMER_MS  60000
/* A run with --once gives up on orders that failed this often. */
#define ONCE_TRIES         3
#define WORKER_STACK_BYTES ((size_t)512 << 10)

METRIC_DEFINE(backlog_copies, METRIC_GAUGE, "tarn_sync_slices_waiting", "want=\"copy\"",
              "Slices whose blocks are not yet as wanted here")
METRIC_DEFINE(backlog_deletes, METRIC_GAUGE, "tarn_sync_slices_waiting", "want=\"delete\"",
              "Slices whose blocks are not yet as wanted here")
METRIC_DEFINE(backlog_failing, METRIC_GAUGE, "tarn_sync_slices_failing", NULL,
              "Waiting slices whose last try failed")
METRIC_DEFINE(backlog_age, METRIC_GAUGE, "tarn_sync_oldest_order_seconds", NULL,
              "Age of the oldest order that is not carried out")
METRIC_DEFINE(orders_done, METRIC_COUNTER, "tarn_sync_orders_total", "result=\"done\"",
              "Orders by how they ended")
METRIC_DEFINE(orders_failed, METRIC_COUNTER, "tarn_sync_orders_total", "result=\"failed\"",
              "Orders by how they ended")
METRIC_DEFINE(orders_lost, METRIC_COUNTER, "tarn_sync_orders_total", "result=\"lost\"",
              "Orders by how they ended")

struct syncer {
    /* set at start */
    const struct run_options *options;
    struct volume *volume;
    struct loop *loop;
    struct http_service *http;
    pthread_t *threads;
    unsigned thread_count;
    pthread_t sweeper;
    bool has_sweeper;

    atomic_bool is_stopping;

    /* shared, under lock */
    struct lock lock;
    struct lock_cond work; /* an order is due, or stopping */
    struct lock_cond idle; /* the coordinator's sleep, or the sweeper's, is cut short */
    unsigned due;          /* workers that may go and look */
    struct backlog backlog;
};

/* ----------------------------------------------------------------------------------- a worker */

struct lease_watch {
    struct syncer *syncer;
    struct queue *queue;
    const struct order *order;
    uint64_t renew_at_ms;
};

static enum rc still_ours(void *arg, struct err *e)
{
    struct lease_watch *w = arg;
    if (w->syncer->is_stopping)
        return err_fail(e, RC_CANCELLED, "the syncer is stopping");
    if (clock_ms() < w->renew_at_ms)
        return RC_OK;
    w->renew_at_ms = clock_deadline(QUEUE_LEASE_S * 1000 / 3);
    return queue_renew(w->queue, w->order, e);
}

/* While we did not own it, the slice may have been removed, and a block of ours have come after. */
static void leave(struct queue *queue, const struct order *order, const struct err *why)
{
    struct err e = ERR_INIT;
    metric_add(&orders_lost, 1);
    log_err(LOG_LEVEL_INFO, why, "left an order to another worker");
    if (!order_removes(order) && queue_left(queue, order, &e))
        log_err(LOG_LEVEL_WARN, &e, "slice %" PRIu64 " may have been stored after its removal",
                order->slice);
}

static void give_back(struct queue *queue, const struct order *order, const struct err *why)
{
    struct err e = ERR_INIT;
    if (why->code == RC_STALE) {
        leave(queue, order, why);
        return;
    }
    metric_add(&orders_failed, 1);
    if (why->code != RC_CANCELLED)
        log_err(LOG_LEVEL_WARN, why, "could not carry out an order; it will be tried again");
    enum rc rc = queue_fail(queue, order, why, &e);
    if (rc == RC_STALE)
        leave(queue, order, &e);
    else if (rc)
        log_err(LOG_LEVEL_WARN, &e, "could not give an order back; its lease will run out");
}

/* Do what is wanted until nothing else is. */
static void carry_out(struct syncer *s, struct queue *queue, struct copier *copier,
                      struct order *order)
{
    struct err e = ERR_INIT;
    struct lease_watch watch = {s, queue, order, clock_deadline(QUEUE_LEASE_S * 1000 / 3)};
    do {
        if (copier_run(copier, order, still_ours, &watch, &e)) {
            give_back(queue, order, &e);
            return;
        }
    } while (queue_done(queue, order, &e) == RC_EXISTS);

    if (e.code == RC_STALE)
        give_back(queue, order, &e);
    else if (e.code == RC_OK || e.code == RC_EXISTS)
        metric_add(&orders_done, 1);
    else
        log_err(LOG_LEVEL_WARN, &e, "could not report an order; it will be looked at again");
}

static bool wait_for_work(struct syncer *s)
{
    LOCK_SCOPE(&s->lock);
    while (s->due == 0 && !s->is_stopping)
        lock_wait(&s->work, &s->lock, CLOCK_FOREVER_MS);
    if (s->due > 0)
        s->due--;
    return !s->is_stopping;
}

static void work_until_empty(struct syncer *s, struct queue *queue, struct copier *copier)
{
    while (!s->is_stopping) {
        struct err e = ERR_INIT;
        auto_order struct order order = {.sums = NULL};
        enum rc rc = queue_lease(queue, &order, &e);
        if (rc == RC_NOT_FOUND)
            return;
        if (rc == RC_CORRUPT) { /* leased, but with sums that make no sense */
            give_back(queue, &order, &e);
            continue;
        }
        if (rc) {
            log_err(LOG_LEVEL_WARN, &e, "could not lease an order");
            clock_sleep_until(clock_deadline(PAUSE_MS));
            return;
        }
        carry_out(s, queue, copier, &order);
    }
}

static void *worker_main(void *arg)
{
    struct syncer *s = arg;
    struct err e = ERR_INIT;
    struct queue *queue = NULL;
    struct copier *copier = NULL;

    if (queue_open(&queue, s->options->url, &e) || copier_open(&copier, s->volume, &e))
        log_err(LOG_LEVEL_ERROR, &e, "could not start a worker");
    else
        while (wait_for_work(s))
            work_until_empty(s, queue, copier);
    copier_close(&copier);
    queue_close(&queue);
    return NULL;
}

/* ---------------------------------------------------------------------------------- the sweeper */

static void nap(struct syncer *s, uint64_t ms)
{
    LOCK_SCOPE(&s->lock);
    if (!s->is_stopping)
        lock_wait(&s->idle, &s->lock, clock_deadline(ms));
}

static enum rc sweep_once(struct syncer *s, struct err *e)
{
    struct queue *queue = NULL;
    enum rc rc = queue_open(&queue, s->options->url, e);
    if (!rc)
        rc = sweep(s->volume, queue, &s->is_stopping, e);
    queue_close(&queue);
    return rc;
}

static void *sweeper_main(void *arg)
{
    struct syncer *s = arg;
    while (!s->is_stopping) {
        struct err e = ERR_INIT;
        const uint64_t next_ms = clock_deadline(SWEEP_AGAIN_MS);
        if (sweep_once(s, &e) && e.code != RC_CANCELLED)
            log_err(LOG_LEVEL_WARN, &e, "the bucket is looked through again in an hour");
        while (!s->is_stopping && clock_left(next_ms) > 0)
            nap(s, (uint64_t)clock_left(next_ms));
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ the coordinator */

static void stop(struct syncer *s)
{
    s->is_stopping = true;
    LOCK_SCOPE(&s->lock);
    lock_broadcast(&s->work);
    lock_broadcast(&s->idle);
}

static void on_stop_signal(int signum, void *arg)
{
    log_info("leaving on signal %d", signum);
    stop(arg);
}

static void wake_workers(struct syncer *s)
{
    LOCK_SCOPE(&s->lock);
    s->due = s->thread_count;
    lock_broadcast(&s->work);
}

static void publish(struct syncer *s, const struct backlog *b)
{
    metric_set(&backlog_copies, b->copies);
    metric_set(&backlog_deletes, b->deletes);
    metric_set(&backlog_failing, b->failing);
    metric_set(&backlog_age, (int64_t)b->oldest_s);
    LOCK_SCOPE(&s->lock);
    s->backlog = *b;
}

/* One look at the queue. *is_finished: history is walked and no order waits. */
static enum rc look(struct syncer *s, struct queue *queue, struct backlog *backlog,
                    uint64_t *backlog_at_ms, bool *is_finished, struct err *e)
{
    bool is_more = false, is_due = false;
    *is_finished = false;
    if (queue_backfill(queue, &is_more, e) || queue_is_due(queue, &is_due, e))
        return e->code;
    if (is_due)
        wake_workers(s);
    bool is_quiet = !is_more && !is_due;
    if (is_quiet || clock_ms() >= *backlog_at_ms) {
        if (queue_backlog(queue, backlog, e))
            return e->code;
        publish(s, backlog);
        *backlog_at_ms = clock_deadline(BACKLOG_MS);
    }
    *is_finished = is_quiet && backlog->has_begun && backlog->backfill_done &&
                   backlog->copies + backlog->deletes == 0;
    return RC_OK;
}

static void keep_worst(uint64_t slice, const char *want, int attempts, const char *error, void *arg)
{
    int *least = arg;
    if (attempts < *least)
        *least = attempts;
    (void)slice, (void)want, (void)error;
}

/* With --once: every order that is left has failed often enough to be called impossible now. */
static bool is_hopeless(struct queue *queue, const struct backlog *b)
{
    struct err e = ERR_INIT;
    int least = ONCE_TRIES;
    if (b->failing == 0 || b->failing < b->copies + b->deletes || !b->backfill_done)
        return false;
    return queue_failures(queue, 1000, keep_worst, &least, &e) == RC_OK && least >= ONCE_TRIES;
}

/* Nothing waits at a primary: can it do without the bucket of the one before it? */
static void settle(struct syncer *s, struct queue *queue, uint64_t *due_ms)
{
    struct err e = ERR_INIT;
    bool is_over = false;
    if (!volume_former(s->volume) || clock_ms() < *due_ms)
        return;
    *due_ms = clock_deadline(FORMER_MS);
    if (queue_former_end(queue, &is_over, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not ask whether the old bucket is still needed");
    else if (is_over)
        log_info("every block is in this site's bucket; %s is not read from any more",
                 volume_former(s->volume)->label);
}

static enum rc coordinate(struct syncer *s, struct queue *queue, struct err *e)
{
    struct backlog backlog = {0};
    uint64_t backlog_at_ms = 0, former_at_ms = 0;
    while (!s->is_stopping) {
        bool is_finished;
        struct err poll = ERR_INIT;
        if (look(s, queue, &backlog, &backlog_at_ms, &is_finished, &poll)) {
            log_err(LOG_LEVEL_WARN, &poll, "could not look at the queue");
            nap(s, PAUSE_MS);
            continue;
        }
        if (is_finished)
            settle(s, queue, &former_at_ms);
        if (s->options->is_once && is_finished)
            return RC_OK;
        if (s->options->is_once && is_hopeless(queue, &backlog)) {
            report_failures(queue, stderr);
            return err_fail(e, RC_CORRUPT, "%" PRId64 " slices could not be brought here",
                            backlog.failing);
        }
        nap(s, POLL_MS);
    }
    return RC_OK;
}

/* -------------------------------------------------------------------------------------- its life
 */

static enum rc on_status(void *arg, struct buf *out, UNUSED int *status, struct err *e)
{
    struct syncer *s = arg;
    struct backlog backlog;
    lock_take(&s->lock);
    backlog = s->backlog;
    lock_drop(&s->lock);
    return report_backlog_json(&backlog, out, e);
}

static enum rc open_services(struct syncer *s, struct err *e)
{
    if (loop_spawn(&s->loop, "loop", e) || loop_signal(s->loop, SIGTERM, on_stop_signal, s, e) ||
        loop_signal(s->loop, SIGINT, on_stop_signal, s, e))
        return e->code;
    if (!s->options->metrics)
        return RC_OK;
    if (http_service_open(&s->http, s->loop, s->options->metrics, e) ||
        http_service_route(s->http, "/v1/status", "application/json", on_status, s, e))
        return e->code;
    http_service_ready(s->http, true);
    return RC_OK;
}

static enum rc check_has_store(struct syncer *s, struct err *e)
{
    if (copier_to(s->volume))
        return RC_OK;
    return err_fail(e, RC_INVALID,
                    "this site has no object store of its own to copy to; join it with --bucket");
}

/* A primary's bucket says whose it is already. */
static enum rc claim_local(struct syncer *s, struct err *e)
{
    return volume_local(s->volume) ? volume_claim_local(s->volume, e) : RC_OK;
}

static enum rc start_workers(struct syncer *s, struct err *e)
{
    s->threads = calloc(s->options->workers, sizeof(*s->threads));
    if (!s->threads)
        return err_fail(e, RC_NO_SPACE, "could not allocate workers");
    for (unsigned i = 0; i < s->options->workers; i++) {
        if (thread_start(&s->threads[i], "sync", WORKER_STACK_BYTES, worker_main, s, e))
            return e->code;
        s->thread_count++;
    }
    return RC_OK;
}

/* With --once it is part of the work; else it goes on beside it. */
static enum rc start_sweeper(struct syncer *s, struct err *e)
{
    if (s->options->is_once)
        return sweep_once(s, e);
    enum rc rc = thread_start(&s->sweeper, "sweep", WORKER_STACK_BYTES, sweeper_main, s, e);
    s->has_sweeper = rc == RC_OK;
    return rc;
}

static enum rc serve(struct syncer *s, struct err *e)
{
    const struct run_options *o = s->options;
    const struct volume_options volume = {
        .meta = {.url = o->url, .application = "tarn-syncer", .is_read_only = true},
        .bucket = o->origin,
        .local_bucket = o->bucket,
    };
    struct queue *queue = NULL;
    if (volume_open(&s->volume, &volume, e) || check_has_store(s, e) || claim_local(s, e) ||
        open_services(s, e) || queue_open(&queue, o->url, e))
        return e->code;

    enum rc rc = start_workers(s, e);
    if (rc == RC_OK)
        rc = start_sweeper(s, e);
    if (rc == RC_OK) {
        log_info("copying to %s with %u workers", copier_to(s->volume)->label, s->thread_count);
        daemon_notify("READY=1");
        rc = coordinate(s, queue, e);
    }
    daemon_notify("STOPPING=1");
    stop(s);
    for (unsigned i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    if (s->has_sweeper)
        pthread_join(s->sweeper, NULL);
    queue_close(&queue);
    return rc;
}

enum rc run_syncer(const struct run_options *options, struct err *e)
{
    struct syncer s = {.options = options};
    lock_init(&s.lock, LOCK_BASE_QUEUE);
    lock_cond_init(&s.work);
    lock_cond_init(&s.idle);

    enum rc rc = serve(&s, e);

    http_service_close(&s.http);
    loop_close(&s.loop);
    volume_close(&s.volume);
    free(s.threads);
    lock_cond_deinit(&s.idle);
    lock_cond_deinit(&s.work);
    lock_deinit(&s.lock);
    return rc;
}
