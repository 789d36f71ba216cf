/*
 * Two threads. The quick one does what must not wait behind an hour of work: sessions at each
 * heartbeat, and whatever this client has just removed. The other one looks now and then whether a
 * job is due. Compactions have threads of their own (crowd.h).
 */
#include "fs/upkeep/jobs.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/pool.h"
#include "fs/base/thread.h"
#include "fs/meta/upkeep.h"
#include "fs/upkeep/crowd.h"
#include "fs/upkeep/round.h"

enum {
    HEARTBEAT_S = 12,
    HOUR_S = 3600,
    DAY_S = 86400,
    AGENT_LOOK_S = 10, /* of the agent: often enough to win */
    DELETES = 10,
    ROUND_MS = 50 * 60 * 1000, /* then others may have a turn */
    QUICK_ROUND_MS = 5000,     /* of the thread that has sessions to look after */
    REMOVED_PAUSE_MS = 200,    /* gathers what a client removes one by one */
    DOOMED_MS = 60000,         /* what waits for mirrors is looked at so often, */
    AGENT_DOOMED_MS = 3000,    /* by the agent more often */
    WATCH_MS = 10000,          /* the agent looks whether a mirror is given up */
    JITTER_PERCENT = 10,
    RUNNER_BYTES = 160,
};

/* ------------------------------------------------------------------------------------ the jobs */

struct job {
    const char *name;
    const char *gate; /* counter that all clients share; NULL: ours alone */
    int64_t every_s;
    int64_t look_s; /* how often a mount looks */
    bool is_quick;
    bool is_for_agent; /* mounts leave it to the agent */
    void (*run)(struct round *round);
};

/* The distances are those of stock clients: nine tenths, so that a look is never just too early. */
static const struct job jobs[] = {
    {"sessions", "lastCleanupSessions", HEARTBEAT_S * 9 / 10, HEARTBEAT_S, true, false,
     round_sessions},
    {"files", "lastCleanupFiles", HOUR_S * 9 / 10, HOUR_S, false, false, round_files},
    {"slices", "nextCleanupSlices", HOUR_S * 9 / 10, HOUR_S, false, false, round_slices},
    {"trash", "lastCleanupTrash", HOUR_S * 9 / 10, HOUR_S, false, false, round_trash},
    {"change-log", "lastCleanupChangelog", 270, 300, false, false, round_change_log},
    {"compaction", NULL, HOUR_S, HOUR_S, false, true, round_crowded},
    {"dir-stats", NULL, DAY_S, HOUR_S, false, true, round_dir_stats},
    {"sums", NULL, DAY_S, HOUR_S, false, true, round_sums},
};
enum { JOBS = sizeof(jobs) / sizeof(jobs[0]) };

static struct job_metrics {
    char labels[32];
    struct metric runs, failures, items, success;
} metrics[JOBS];

static void show(struct metric *m, size_t job, enum metric_type type, const char *name,
                 const char *help)
{
    *m = (struct metric){.name = name, .labels = metrics[job].labels, .help = help, .type = type};
    metric_register(m);
}

__attribute__((constructor)) static void show_all(void)
{
    for (size_t i = 0; i < JOBS; i++) {
        (void)snprintf(metrics[i].labels, sizeof(metrics[i].labels), "job=\"%s\"", jobs[i].name);
        show(&metrics[i].runs, i, METRIC_COUNTER, "tarn_job_runs_total",
             "runs of a job of the volume by this client");
        show(&metrics[i].failures, i, METRIC_COUNTER, "tarn_job_failures_total",
             "runs of which a part failed");
        show(&metrics[i].items, i, METRIC_COUNTER, "tarn_job_items_total",
             "what the runs have found and done");
        show(&metrics[i].success, i, METRIC_GAUGE, "tarn_job_last_success_seconds",
             "when the last run without a failure ended, in seconds since 1970");
    }
}

METRIC_DEFINE(metric_ignored, METRIC_GAUGE, "tarn_mirrors_ignored", NULL,
              "mirrors that were silent for so long that deletions do not wait for them")

/* ----------------------------------------------------------------------------------- the upkeep */

struct upkeep {
    /* set at open */
    struct volume *volume;
    bool has_jobs, is_agent;
    char host[64];
    struct crowd *crowd;
    struct pool *deletes;
    pthread_t quick, slow;
    bool has_quick, has_slow;

    atomic_bool is_closing;
    _Atomic uint64_t runs; /* tells one beginning of a job from another */

    struct lock lock;
    struct lock_cond changed; /* closing, or something removed */
    bool has_removed;         /* shared */

    /* of the quick thread */
    unsigned ignored;
};

/* Wait until the deadline, the end, or (wakes) something that was removed. False at the end. */
static bool wait_until(struct upkeep *u, uint64_t deadline_ms, bool wakes)
{
    LOCK_SCOPE(&u->lock);
    while (!u->is_closing && !(wakes && u->has_removed) && clock_left(deadline_ms) > 0)
        (void)lock_wait(&u->changed, &u->lock, deadline_ms);
    return !u->is_closing;
}

static struct round round_of(struct upkeep *u, uint64_t ms)
{
    return (struct round){.volume = u->volume,
                          .deletes = u->deletes,
                          .is_closing = &u->is_closing,
                          .until_ms = clock_deadline(ms)};
}

/* ---- one run ---- */

static void tell_end(struct upkeep *u, const struct job *job, const char *runner,
                     const struct round *r, uint64_t began_ms)
{
    struct job_metrics *m = &metrics[job - jobs];
    struct err e = ERR_INIT;
    const bool is_ok = r->first.code == RC_OK;
    metric_add(&m->runs, 1);
    metric_add(&m->failures, !is_ok);
    metric_add(&m->items, (int64_t)r->items);
    if (is_ok)
        metric_set(&m->success, clock_wall().tv_sec);
    if (r->items || !job->is_quick)
        log_write(r->items ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
                  "job %s did %" PRIu64 " things in %" PRIu64 " ms", job->name, r->items,
                  clock_ms() - began_ms);
    if (meta_job_end(volume_meta(u->volume), job->name, runner, is_ok, r->items,
                     is_ok ? NULL : r->first.text, &e))
        log_err(LOG_LEVEL_DEBUG, &e, "could not note the end of a job");
}

/* Do a job if it is due and ours. False: nobody can be asked now. */
static bool look(struct upkeep *u, const struct job *job)
{
    char runner[RUNNER_BYTES];
    struct err e = ERR_INIT;
    bool is_ours = false;
    (void)snprintf(runner, sizeof(runner), "%s:%d:%" PRIu64, u->host, (int)getpid(),
                   atomic_fetch_add(&u->runs, 1) + 1);
    if (meta_job_begin(volume_meta(u->volume), job->name, job->gate, job->every_s, runner, &is_ours,
                       &e)) {
        log_err(LOG_LEVEL_DEBUG, &e, "could not ask whether a job is due");
        return false;
    }
    if (!is_ours)
        return true;
    const uint64_t began_ms = clock_ms();
    struct round r = round_of(u, ROUND_MS);
    job->run(&r);
    if (r.first.code == RC_UNAVAILABLE)
        log_err(LOG_LEVEL_WARN, &r.first, "job %s is cut short", job->name);
    tell_end(u, job, runner, &r, began_ms);
    return true;
}

/* ---- when ---- */

/* Give or take a tenth, so that a thousand mounts do not look at the same moment. */
static uint64_t jittered_ms(uint64_t ms)
{
    const uint64_t spread = ms * JITTER_PERCENT / 100;
    return ms - spread + hash_u64(clock_us()) % (2 * spread + 1);
}

static uint64_t look_ms(const struct upkeep *u, const struct job *job)
{
    const bool is_often = u->is_agent && job->look_s > AGENT_LOOK_S;
    return (uint64_t)(is_often ? AGENT_LOOK_S : job->look_s) * 1000;
}

static bool takes_part(const struct upkeep *u, const struct job *job, bool is_quick)
{
    return u->has_jobs && job->is_quick == is_quick && (u->is_agent || !job->is_for_agent);
}

/* Look at those of the jobs whose time has come; answers when to come back. */
static uint64_t look_around(struct upkeep *u, uint64_t due_ms[JOBS], bool is_quick)
{
    uint64_t next_ms = CLOCK_FOREVER_MS;
    for (size_t i = 0; i < JOBS && !u->is_closing; i++) {
        if (!takes_part(u, &jobs[i], is_quick))
            continue;
        if (clock_left(due_ms[i]) == 0) {
            (void)look(u, &jobs[i]);
            due_ms[i] = clock_deadline(jittered_ms(look_ms(u, &jobs[i])));
        }
        next_ms = due_ms[i] < next_ms ? due_ms[i] : next_ms;
    }
    return next_ms;
}

/* Soon, but not all mounts of a site at once. */
static void set_first_looks(const struct upkeep *u, uint64_t due_ms[JOBS])
{
    for (size_t i = 0; i < JOBS; i++) {
        const uint64_t soon_ms = u->is_agent ? 500 : 1000 + hash_u64(clock_us() + i) % 10000;
        due_ms[i] = clock_deadline(soon_ms);
    }
}

static void *run_slow(void *arg)
{
    struct upkeep *u = arg;
    uint64_t due_ms[JOBS];
    set_first_looks(u, due_ms);
    while (wait_until(u, look_around(u, due_ms, false), false))
        ;
    return NULL;
}

/* ---- the quick thread ---- */

/* What a look at the mirrors found. */
struct watch {
    unsigned ignored;
    bool is_told; /* name them in the log */
};

static void watch_mirror(const struct meta_follower *follower, void *arg)
{
    struct watch *w = arg;
    if (follower->is_awaited)
        return;
    w->ignored++;
    if (w->is_told)
        log_warn("mirror \"%s\" is silent for %" PRId64
                 " s: deletions do not wait for it any more, and it may miss data that it needs",
                 follower->site, follower->silent_s);
}

/* Say it once when a mirror is given up; the metric says it all the time. */
static void watch_mirrors(struct upkeep *u)
{
    struct err e = ERR_INIT;
    struct watch w = {0};
    if (meta_followers(volume_meta(u->volume), watch_mirror, &w, &e))
        return;
    metric_set(&metric_ignored, w.ignored);
    if (w.ignored > u->ignored) {
        w = (struct watch){.is_told = true};
        (void)!meta_followers(volume_meta(u->volume), watch_mirror, &w, &e);
    }
    u->ignored = w.ignored;
}

static bool take_removed(struct upkeep *u)
{
    LOCK_SCOPE(&u->lock);
    const bool has_removed = u->has_removed;
    u->has_removed = false;
    return has_removed;
}

/* Clean up after ourselves, and delete what has waited long enough. */
static void clean_up(struct upkeep *u, bool has_removed)
{
    struct round r = round_of(u, QUICK_ROUND_MS);
    if (has_removed)
        round_removed_files(&r);
    else
        round_doomed(&r);
    if (r.first.code == RC_UNAVAILABLE)
        log_err(LOG_LEVEL_DEBUG, &r.first, "deletions wait");
    if (clock_left(r.until_ms) == 0)
        upkeep_removed(u, true); /* there is more */
}

static void *run_quick(void *arg)
{
    struct upkeep *u = arg;
    uint64_t due_ms[JOBS], doomed_ms = clock_deadline(jittered_ms(AGENT_DOOMED_MS));
    uint64_t watch_ms = 0;
    set_first_looks(u, due_ms);
    for (;;) {
        const uint64_t jobs_ms = look_around(u, due_ms, true);
        if (!wait_until(u, jobs_ms < doomed_ms ? jobs_ms : doomed_ms, true))
            return NULL;
        const bool has_removed = take_removed(u);
        if (!has_removed && clock_left(doomed_ms) > 0)
            continue;
        clean_up(u, has_removed);
        if (u->is_agent && clock_left(watch_ms) == 0) {
            watch_mirrors(u);
            watch_ms = clock_deadline(WATCH_MS);
        }
        doomed_ms = clock_deadline(jittered_ms(u->is_agent ? AGENT_DOOMED_MS : DOOMED_MS));
        if (!wait_until(u, clock_deadline(REMOVED_PAUSE_MS), false))
            return NULL;
    }
}

static bool has_trash(struct upkeep *u)
{
    struct format *format = meta_format_ref(volume_meta(u->volume));
    const bool is_kept = format->trash_days > 0;
    meta_format_unref(volume_meta(u->volume), &format);
    return is_kept;
}

void upkeep_removed(struct upkeep *u, bool is_certain)
{
    if (!u || (!is_certain && has_trash(u)))
        return;
    LOCK_SCOPE(&u->lock);
    u->has_removed = true;
    lock_broadcast(&u->changed);
}

void upkeep_crowded(struct upkeep *u, ino_num ino, uint32_t indx, bool waits)
{
    if (u)
        crowd_compact(u->crowd, ino, indx, waits);
}

/* ----------------------------------------------------------------------------- opening, closing */

static enum rc start(struct upkeep *u, unsigned max_deletes, struct err *e)
{
    const struct pool_options deletes = {.name = "delete",
                                         .max_threads = max_deletes ? max_deletes : DELETES,
                                         .max_queued = 2 * (size_t)DELETES};
    if (pool_open(&u->deletes, &deletes, e) || crowd_open(&u->crowd, u->volume, e))
        return e->code;
    if (thread_start(&u->quick, "upkeep", 0, run_quick, u, e))
        return e->code;
    u->has_quick = true;
    if (!u->has_jobs)
        return RC_OK;
    enum rc rc = thread_start(&u->slow, "jobs", 0, run_slow, u, e);
    u->has_slow = rc == RC_OK;
    return rc;
}

enum rc upkeep_open(struct upkeep **out, const struct upkeep_options *options, struct err *e)
{
    struct upkeep *u = calloc(1, sizeof(*u));
    if (!u)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    u->volume = options->volume;
    u->has_jobs = options->has_jobs;
    u->is_agent = options->is_agent;
    (void)gethostname(u->host, sizeof(u->host) - 1);
    lock_init(&u->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&u->changed);
    if (start(u, options->max_deletes, e)) {
        upkeep_close(&u);
        return err_note(e, "could not begin the upkeep of the volume");
    }
    *out = u;
    return RC_OK;
}

void upkeep_close(struct upkeep **upkeep)
{
    struct upkeep *u = *upkeep;
    *upkeep = NULL;
    if (!u)
        return;
    lock_take(&u->lock);
    u->is_closing = true;
    lock_broadcast(&u->changed);
    lock_drop(&u->lock);
    crowd_end(u->crowd);
    if (u->has_quick)
        pthread_join(u->quick, NULL);
    if (u->has_slow)
        pthread_join(u->slow, NULL);
    crowd_close(&u->crowd);
    pool_close(&u->deletes);
    lock_cond_deinit(&u->changed);
    lock_deinit(&u->lock);
    free(u);
}
