/*
 * run: the agent of a primary site. Each second one beat and one look at the slots, each minute
 * the object tarn/epoch.
 *
 *   state     what it does                                            ready   leaves it when
 *   WAITING   nothing: PostgreSQL or another agent holds it back      no      it has the lock
 *   PRIMARY   beats, looks, refreshes tarn/epoch, does the jobs       yes     the connection breaks
 *   READONLY  the same, but the lease has ended: nobody may write     no      mirrors acknowledge
 *   FENCED    nothing: a promotion is under way, or was by force      no      it is lifted, or over
 *
 * A beat behind the fence would be lost with the old role, so a FENCED primary does not beat. When
 * the site has become a mirror, the agent ends: another one is to run there.
 *
 * The lock lives as long as the connection, so two agents never beat at once. An agent whose
 * database is behind its bucket ends: going on is what the epoch is there to prevent.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "fs/base/agent.h"
#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/url.h"
#include "fs/meta/upkeep.h"
#include "fs/upkeep/jobs.h"
#include "fs/volume/volume.h"
#include "primary/epoch.h"
#include "primary/lease.h"
#include "primary/primary.h"
#include "primary/quotas.h"
#include "primary/slots.h"

#define BEAT_MS   1000
#define EPOCH_MS  60000
#define BUCKET_MS 5000
#define MAX_CONNS 4

METRIC_DEFINE(beats, METRIC_GAUGE, "tarn_heartbeat_seq", NULL, "Number of the last heartbeat")
METRIC_DEFINE(epoch_gauge, METRIC_GAUGE, "tarn_epoch", NULL, "Epoch of the volume")
METRIC_DEFINE(epoch_age, METRIC_GAUGE, "tarn_epoch_object_ok", NULL,
              "1 while the object tarn/epoch could be refreshed")

struct run_options {
    const char *metrics;
    const char *bucket;
    int64_t keep_window_ms;
    int64_t max_deletes;
    int64_t lease_ms;
    const char *lease_site;
    struct command_log log;
};

static const struct conf_option options[] = {
    {.name = "metrics",
     .type = CONF_STRING,
     .help = "serve /metrics, /healthz, /readyz and /v1/status on HOST:PORT",
     .offset = offsetof(struct run_options, metrics)},
    {.name = "bucket",
     .type = CONF_STRING,
     .help = "where the bucket is, instead of what the volume says",
     .offset = offsetof(struct run_options, bucket)},
    {.name = "keep-window",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "7d",
     .min = 60000,
     .max = (int64_t)3650 * 86400000,
     .help = "deletions wait for a mirror that is silent for so long, and then no more",
     .offset = offsetof(struct run_options, keep_window_ms)},
    {.name = "max-deletes",
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 100,
     .help = "slices whose objects are removed at the same time",
     .offset = offsetof(struct run_options, max_deletes)},
    {.name = "lease",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "0",
     .max = 86400000,
     .help = "become read-only when a mirror has not acknowledged for so long; 0: never",
     .offset = offsetof(struct run_options, lease_ms)},
    {.name = "lease-site",
     .type = CONF_STRING,
     .help = "the mirror whose word counts for the lease; without it that of each one",
     .offset = offsetof(struct run_options, lease_site)},
    COMMAND_LOG_OPTIONS(struct run_options, log),
};

static const struct conf_command command = {
    .name = "tarn primary run",
    .arguments = "META-URL",
    .summary = "the agent of a primary site: heartbeat, replication slots, epoch, upkeep",
    .details =
        "  tarn primary run postgres://owner@db.example/volume --metrics 127.0.0.1:9661\n\n"
        "Does the jobs of the volume as well, as read-write mounts do: ends sessions that are\n"
        "silent, empties the trash, deletes the data of removed files, compacts. What a mirror\n"
        "may still need is not deleted before the mirror has caught up.\n\n"
        "With --lease a primary that is cut off from its mirrors stops writing by itself, and goes\n"
        "on when they acknowledge again: then one of them may be promoted by force meanwhile. It\n"
        "holds while this agent runs.\n\n"
        "Runs in the foreground until SIGTERM, and through restarts of PostgreSQL. One agent\n"
        "works at a time: a second one waits for the first to end. Connect to PostgreSQL\n"
        "itself, not through a pooler in transaction mode.\n"
        "Exit codes: 0 ended by a signal, or the site has become a mirror, 1 the database is\n"
        "behind its bucket, 3 unreachable at the start, 4 denied, 5 not adopted.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct primary {
    /* set at open */
    const char *url;
    const struct run_options *options;

    /* of the work */
    struct pg *pg;
    struct volume *volume; /* NULL until the bucket could be opened */
    struct upkeep *upkeep; /* the same; begins with the first lock */
    struct slots *slots;
    struct quotas *quotas;
    bool has_lock;
    bool was_told_to_wait;
    uint64_t epoch_due_ms, epoch_asked_ms;
    uint64_t lift_wanted_ms; /* since when the lease could be lifted; 0: not wanted */
    bool epoch_was_ok;
    struct epoch_mark mark;
    struct lease lease;
    bool was_fenced;
    bool is_demoted; /* a mirror by now: the agent ends well */
};

static enum rc open_volume(struct primary *p, struct err *e)
{
    const struct volume_options o = {
        .meta = {.url = p->url,
                 .application = "tarn-primary",
                 .max_conns = MAX_CONNS,
                 .timeout_ms = BUCKET_MS,
                 .connect_timeout_ms = BUCKET_MS},
        .bucket = p->options->bucket,
        .checks_uuid = true,
    };
    return p->volume ? RC_OK : volume_open(&p->volume, &o, e);
}

/* The jobs of the volume: once this agent has had the lock, and its bucket is known to be ours. */
static enum rc open_upkeep(struct primary *p, struct err *e)
{
    const struct upkeep_options o = {.volume = p->volume,
                                     .has_jobs = true,
                                     .is_agent = true,
                                     .max_deletes = (unsigned)p->options->max_deletes};
    if (meta_keep_window_set(volume_meta(p->volume), p->options->keep_window_ms / 1000, e))
        return e->code;
    return upkeep_open(&p->upkeep, &o, e);
}

static void begin_upkeep(struct primary *p)
{
    struct err e = ERR_INIT;
    if (!p->upkeep && open_upkeep(p, &e))
        log_err(LOG_LEVEL_WARN, &e, "the jobs of the volume have not begun yet");
}

/* A verdict against this database ends the agent; a bucket that is away does not. */
static enum rc refresh_epoch(struct primary *p, struct err *e)
{
    if (clock_ms() < p->epoch_due_ms)
        return RC_OK;
    struct err bucket = ERR_INIT;
    enum rc rc = open_volume(p, &bucket);
    if (!rc)
        rc = epoch_refresh(volume_store(p->volume), &p->mark, &bucket);
    p->epoch_due_ms = clock_deadline(rc ? BUCKET_MS : EPOCH_MS);
    p->epoch_asked_ms = clock_ms();
    metric_set(&epoch_age, rc == RC_OK);
    if (rc == RC_INVALID && p->volume) {
        *e = bucket;
        return rc;
    }
    if (rc && p->epoch_was_ok)
        log_err(LOG_LEVEL_WARN, &bucket, "could not refresh object tarn/epoch");
    else if (!rc && !p->epoch_was_ok)
        log_info("object tarn/epoch is refreshed each minute");
    p->epoch_was_ok = rc == RC_OK;
    if (!rc)
        begin_upkeep(p);
    return RC_OK;
}

static enum rc publish(struct agent *agent, const struct primary *p, int64_t seq,
                       struct json **slots, struct err *e)
{
    auto_json struct json *status = json_object_new();
    if (!status)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(status, "role", "primary", e) ||
        json_set_string(status, "state", p->lease.is_held_back ? "READONLY" : "PRIMARY", e) ||
        json_set_int(status, "epoch", p->mark.epoch, e) ||
        json_set_string(status, "system_identifier", p->mark.system_identifier, e) ||
        json_set_int(status, "next_chunk", p->mark.next_chunk, e) ||
        json_set_int(status, "heartbeat_seq", seq, e) ||
        json_set_bool(status, "epoch_object_ok", p->epoch_was_ok, e) ||
        json_set(status, "slots", slots, e))
        return e->code;
    return agent_publish(agent, &status, !p->lease.is_held_back, e);
}

static enum rc publish_fenced(struct agent *agent, const char *detail, struct err *e)
{
    auto_json struct json *status = json_object_new();
    if (!status)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(status, "role", "primary", e) ||
        json_set_string(status, "state", "FENCED", e) ||
        json_set_string(status, "detail", detail ? detail : "", e))
        return e->code;
    return agent_publish(agent, &status, false, e);
}

/*
 * What this site is now. *may_work: a primary that is not fenced; this session then writes behind a
 * lease of its own.
 */
static enum rc stand(struct agent *agent, struct primary *p, bool *may_work, struct err *e)
{
    auto_result struct pg_result *row = NULL, *none = NULL;
    if (pg_call(p->pg, "SELECT * FROM tarn_1.primary_standing()", NULL, 0,
                clock_deadline(PRIMARY_CONNECT_MS), &row, e))
        return e->code;
    const char *role = pg_get_text(row, 0, pg_column(row, "role"));
    const char *state = pg_get_text(row, 0, pg_column(row, "state"));
    const char *detail = pg_get_text(row, 0, pg_column(row, "detail"));
    if (strcmp(role, "primary") != 0) {
        p->is_demoted = true;
        return err_fail(e, RC_CANCELLED, "this site is a mirror now");
    }
    const bool is_fenced = strcmp(state, "FENCED") == 0;
    if (is_fenced != p->was_fenced)
        log_warn("this primary is %s: %s", is_fenced ? "fenced" : "not fenced any more",
                 detail ? detail : "it goes on");
    p->was_fenced = is_fenced;
    p->lease.is_held_back = strcmp(state, "READONLY") == 0;
    *may_work = !is_fenced;
    if (is_fenced)
        return publish_fenced(agent, detail, e);
    return pg_call(p->pg, "SELECT tarn_1.write_anyway()", NULL, 0,
                   clock_deadline(PRIMARY_CONNECT_MS), &none, e);
}

/* Take the lock that lives with the connection; *out says whether it is ours. */
static enum rc take_lock(struct primary *p, bool *out, struct err *e)
{
    if (!p->has_lock) {
        auto_result struct pg_result *row = NULL;
        if (pg_call(p->pg, "SELECT * FROM tarn_1.agent_lock()", NULL, 0,
                    clock_deadline(PRIMARY_CONNECT_MS), &row, e))
            return e->code;
        p->has_lock = pg_get_bool(row, 0, 0);
    }
    if (!p->has_lock && !p->was_told_to_wait)
        log_warn("another agent of this primary is running; waiting for it to end");
    if (p->has_lock && p->was_told_to_wait)
        log_info("the other agent has ended; going on in its place");
    p->was_told_to_wait = !p->has_lock;
    *out = p->has_lock;
    return RC_OK;
}

static enum rc beat(struct primary *p, int64_t *seq, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->pg, "SELECT * FROM tarn_1.beat()", NULL, 0, clock_deadline(PRIMARY_CONNECT_MS),
                &row, e))
        return err_note(e, "could not write the heartbeat");
    if (pg_rows(row) != 1)
        return err_fail(e, RC_INVALID, "this database is not a primary any more");
    *seq = pg_get_int8(row, 0, pg_column(row, "seq"));
    metric_set(&beats, *seq);
    return RC_OK;
}

/* A higher epoch ends the agent before this; a bucket that cannot be asked holds nothing up. */
static enum rc keep_lease(struct primary *p, struct err *e)
{
    bool wants_epoch = false;
    const bool was_asked = p->epoch_asked_ms >= p->lift_wanted_ms && p->lift_wanted_ms > 0;
    if (lease_turn(&p->lease, p->pg, p->slots, was_asked, &wants_epoch, e))
        return e->code;
    if (wants_epoch && p->lift_wanted_ms == 0) {
        p->lift_wanted_ms = clock_ms();
        p->epoch_due_ms = 0;
    } else if (!wants_epoch) {
        p->lift_wanted_ms = 0;
    }
    return RC_OK;
}

static enum rc supervise(struct agent *agent, struct primary *p, struct err *e)
{
    int64_t seq = 0;
    bool may_work = false;
    auto_json struct json *slots = json_array_new();
    if (!slots)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (stand(agent, p, &may_work, e) || !may_work)
        return e->code;
    if (epoch_of_database(p->pg, &p->mark, e) || refresh_epoch(p, e) || beat(p, &seq, e) ||
        slots_look(p->slots, p->pg, slots, e) || quotas_look(p->quotas, p->pg, e) ||
        keep_lease(p, e))
        return e->code;
    metric_set(&epoch_gauge, p->mark.epoch);
    return publish(agent, p, seq, &slots, e);
}

static enum rc turn(struct agent *agent, void *arg, struct err *e)
{
    struct primary *p = arg;
    if (!p->pg || !pg_is_open(p->pg)) {
        pg_close(&p->pg);
        p->has_lock = false;
        if (primary_connect(&p->pg, p->url, e))
            return e->code;
        log_info("connected to PostgreSQL");
    }
    bool is_ours = false;
    if (take_lock(p, &is_ours, e))
        return e->code;
    return is_ours ? supervise(agent, p, e) : agent_publish_waiting(agent, e);
}

/* The first connection is not retried: a wrong URL is the caller's to know at once. */
static enum rc begin(struct primary *p, struct err *e)
{
    if (slots_open(&p->slots, e) || quotas_open(&p->quotas, e) ||
        primary_connect(&p->pg, p->url, e))
        return e->code;
    return epoch_of_database(p->pg, &p->mark, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct run_options *o = into;
    struct primary p = {.url = arguments[0],
                        .options = o,
                        .epoch_was_ok = true,
                        .lease = {.ms = (uint64_t)o->lease_ms, .site = o->lease_site}};
    const struct agent_options agent = {
        .listen = o->metrics, .period_ms = BEAT_MS, .role = "primary", .work = turn, .arg = &p};
    if (command_log_init("tarn-primary", &o->log, e))
        return e->code;
    agent_hold_signals();
    enum rc rc = begin(&p, e);
    if (!rc)
        rc = agent_run(&agent, e);
    slots_close(&p.slots);
    quotas_close(&p.quotas);
    upkeep_close(&p.upkeep);
    volume_close(&p.volume);
    pg_close(&p.pg);
    if (p.is_demoted) {
        log_info("%s; start tarn mirror run, and tarn syncer run where it has a bucket", e->text);
        *e = ERR_INIT;
        rc = RC_OK;
    }
    if (!rc)
        log_info("ended");
    return rc;
}

int primary_run(int argc, char **argv)
{
    struct run_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
