/*
 * run: the agent of a mirror site. Each second it looks, names the state (mirror/state.c), finishes
 * a join that was interrupted, and mends what it can (mirror/mend.h).
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/agent.h"
#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "mirror/audit_show.h"
#include "mirror/data_lag.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/home.h"
#include "mirror/mend.h"
#include "mirror/mirror.h"

#define LOOK_MS         1000
#define PRIMARY_MS      5000  /* between two questions to a primary that answers */
#define PRIMARY_AWAY_MS 15000 /* and to one that does not */
#define TABLES_MS       15000 /* between two tries to follow a new table */
#define AUDIT_MS        15000 /* between two looks at what the last audit found */

METRIC_DEFINE(lag_bytes, METRIC_GAUGE, "tarn_mirror_lag_bytes", NULL,
              "WAL of the primary that is not applied here")
METRIC_DEFINE(lag_seconds, METRIC_GAUGE, "tarn_mirror_lag_seconds", NULL,
              "Age of the primary's last heartbeat that arrived")
METRIC_DEFINE(lag_transactions, METRIC_GAUGE, "tarn_mirror_lag_transactions", NULL,
              "Transactions of the primary that are not applied here, at most; -1: not known")
METRIC_DEFINE(heartbeat_seq, METRIC_GAUGE, "tarn_heartbeat_seq", NULL,
              "Number of the last heartbeat")
METRIC_DEFINE(state_gauge, METRIC_GAUGE, "tarn_mirror_state", NULL,
              "0 joining, 1 copying, 2 following, 3 stalled, 4 lost, 5 left")
METRIC_DEFINE(ready_gauge, METRIC_GAUGE, "tarn_mirror_ready", NULL, "1 when it may be mounted")
METRIC_DEFINE(errors_gauge, METRIC_GAUGE, "tarn_mirror_subscription_errors", NULL,
              "Errors of apply and of the first copy since the statistics began")
METRIC_DEFINE(slices_gauge, METRIC_GAUGE, "tarn_mirror_slices_waiting", NULL,
              "Slices whose blocks are not yet as the metadata wants them")

struct run_options {
    const char *metrics;
    struct command_log log;
};

static const struct conf_option options[] = {
    {.name = "metrics",
     .type = CONF_STRING,
     .help = "serve /metrics, /healthz, /readyz and /v1/status on HOST:PORT",
     .offset = offsetof(struct run_options, metrics)},
    COMMAND_LOG_OPTIONS(struct run_options, log),
};

static const struct conf_command command = {
    .name = "tarn mirror run",
    .arguments = "MIRROR-URL",
    .summary = "the agent of a mirror site: state, lag, healing",
    .details =
        "  tarn mirror run postgres://owner@db.tokyo/volume --metrics 127.0.0.1:9662\n\n"
        "Runs in the foreground until SIGTERM, through restarts of both servers and cuts of\n"
        "the line. A mirror that is LOST stays readable; seed it again with\n"
        "tarn mirror leave and tarn mirror join.\n"
        "Exit codes: 0 ended by a signal, or the site has been promoted, 3 unreachable at the\n"
        "start, 4 denied, 5 no mirror there.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct mirror {
    /* set at open */
    const char *url;

    /* of the work */
    struct pg *own, *primary;
    struct home home;
    struct data_lag data;
    struct copy_plan *plan; /* while the first copy is under way */
    struct copy_sight copy;
    bool has_lock, was_told_to_wait;
    struct facts_primary said;
    bool was_reached;
    uint64_t ask_due_ms, tables_due_ms, audit_due_ms;

    int64_t last_seq, last_epoch;
    uint64_t last_beat_ms;  /* when we saw it */
    int64_t errors_at_ease; /* when a heartbeat arrived last */
    bool has_seen_beat;

    enum mirror_state shown;
    bool has_shown;
    bool has_marker;
    int64_t marker;
    bool is_promoted; /* the primary by now: the agent ends well */
};

/* ----------------------------------------------------------------------------------- what is seen
 */

static void watch_beats(struct mirror *m, const struct facts *f)
{
    bool is_new = f->has_heartbeat &&
                  (!m->has_seen_beat || f->seq != m->last_seq || f->epoch != m->last_epoch);
    if (!is_new)
        return;
    /* At the first look the row may be old already: its age is all there is to go by. */
    uint64_t age_ms = m->has_seen_beat ? 0 : (uint64_t)f->heartbeat_age_ms;
    uint64_t now_ms = clock_ms();
    m->last_beat_ms = now_ms > age_ms ? now_ms - age_ms : 0;
    m->last_seq = f->seq;
    m->last_epoch = f->epoch;
    m->errors_at_ease = f->errors;
    m->has_seen_beat = true;
}

/* Ask the primary now and then; a line that is down must not hold up the rest. */
static void ask_primary(struct mirror *m, const struct facts *f)
{
    if (!f->has_subscription || clock_ms() < m->ask_due_ms)
        return;
    struct err e = ERR_INIT;
    if (m->primary && !pg_is_open(m->primary))
        pg_close(&m->primary);
    m->said.is_reached = false;
    if (m->primary || mirror_connect_primary(m->own, &m->primary, MIRROR_ASK_MS, &e) == RC_OK)
        facts_ask_primary(m->primary, f->subscription, &m->said);
    home_ask(&m->home, m->own, m->primary, f, &m->said);
    if (m->said.is_reached != m->was_reached)
        log_info("the primary %s", m->said.is_reached ? "answers" : "cannot be reached");
    m->was_reached = m->said.is_reached;
    m->ask_due_ms = clock_deadline(m->said.is_reached ? PRIMARY_MS : PRIMARY_AWAY_MS);
}

static struct mirror_sight sight_of(const struct mirror *m, const struct facts *f)
{
    return (struct mirror_sight){
        .has_subscription = f->has_subscription,
        .is_enabled = f->is_enabled,
        .has_worker = f->has_worker,
        .is_ready = f->is_ready,
        .tables_total = f->tables_total,
        .tables_ready = f->tables_ready,
        .errors = f->errors,
        .errors_new = f->errors > m->errors_at_ease ? f->errors - m->errors_at_ease : 0,
        .silence_ms = m->has_seen_beat ? clock_ms() - m->last_beat_ms : 0,
        .knows_slot = m->said.is_reached,
        .slot = m->said.has_slot ? m->said.wal_status : NULL,
    };
}

/* -------------------------------------------------------------------------------- what is mended
 */

/* What cannot be followed is told and tried again; the tables that are followed go on. */
static void follow_new_tables(struct mirror *m, const struct facts *f)
{
    struct err e = ERR_INIT;
    if (!f->is_ready || !f->is_enabled || !m->said.is_reached ||
        m->said.tables <= f->tables_total || clock_ms() < m->tables_due_ms)
        return;
    m->tables_due_ms = clock_deadline(TABLES_MS);
    if (mend_tables(m->own, m->primary, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not follow what the primary publishes anew");
}

/* How far the first copy is; of how much only the primary knows. */
static enum rc watch_copy(struct mirror *m, const struct facts *f, struct err *e)
{
    struct err ignored = ERR_INIT;
    m->copy.tables_total = 0;
    if (f->is_ready || f->tables_total == 0)
        return RC_OK;
    if (!m->plan && (!m->said.is_reached || copy_plan_make(&m->plan, m->primary, &ignored)))
        return RC_OK;
    return copy_look(m->plan, m->own, &m->copy, e);
}

/* Every table is there but the marker is not: what a killed join left undone. */
static enum rc finish_join(struct mirror *m, const struct facts *f, struct err *e)
{
    if (f->is_ready || f->tables_total == 0 || f->tables_ready < f->tables_total)
        return RC_OK;
    if (!m->has_marker) {
        struct pg *home = home_reach(&m->home, m->own, m->primary, f);
        if (!m->said.is_reached || !home)
            return RC_OK;
        if (follow_copied(m->own, e) || marker_write(home, f->name, &m->marker, e))
            return e->code;
        m->has_marker = true;
    }
    bool is_here = false;
    if (marker_arrived(m->own, f->name, m->marker, &is_here, e))
        return e->code;
    return is_here ? follow_ready(m->own, e) : RC_OK;
}

static enum rc mend(struct mirror *m, const struct facts *f, enum mirror_state state, struct err *e)
{
    bool has_errors = f->errors > m->errors_at_ease;
    if ((state == MIRROR_STALLED || state == MIRROR_COPYING) && has_errors && m->said.is_reached &&
        mend_columns(m->own, m->primary, e))
        return e->code;
    follow_new_tables(m, f);
    return finish_join(m, f, e);
}

/* --------------------------------------------------------------------------------- what is shown
 */

static enum log_level level_of(enum mirror_state state)
{
    if (state == MIRROR_LOST)
        return LOG_LEVEL_ERROR;
    return state == MIRROR_STALLED ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
}

static enum rc note_state(struct mirror *m, enum mirror_state state, const char *why, struct err *e)
{
    const struct pg_param params[] = {pg_text(mirror_state_name(state)),
                                      pg_text(why[0] ? why : NULL)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(m->own, "SELECT * FROM tarn_1.mirror_state($1,$2)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not note the state");
    return RC_OK;
}

static void tell_state(struct mirror *m, enum mirror_state state, const char *why)
{
    if (!m->has_shown || m->shown != state)
        log_write(level_of(state), "state %s%s%s", mirror_state_name(state), why[0] ? ": " : "",
                  why);
    m->shown = state;
    m->has_shown = true;
}

static void count(const struct mirror *m, const struct facts *f)
{
    metric_set(&lag_bytes, facts_lag_bytes(f, &m->said));
    metric_set(&lag_transactions, facts_lag_transactions(f, &m->said));
    metric_set(&lag_seconds, f->heartbeat_age_ms / 1000);
    metric_set(&heartbeat_seq, f->seq);
    metric_set(&state_gauge, m->shown);
    metric_set(&ready_gauge, f->is_ready);
    metric_set(&errors_gauge, f->errors);
    metric_set(&slices_gauge, f->slices_waiting);
}

static enum rc count_audit(struct mirror *m, struct err *e)
{
    if (clock_ms() < m->audit_due_ms)
        return RC_OK;
    m->audit_due_ms = clock_deadline(AUDIT_MS);
    return audit_count_last(m->own, e);
}

static enum rc publish(struct agent *agent, const struct mirror *m, struct facts *f,
                       const char *why, struct err *e)
{
    auto_json struct json *document = NULL;
    f->state = mirror_state_name(m->shown);
    f->detail = why[0] ? why : f->detail;
    if (facts_document(f, &m->said, &document, e) || audit_add_last(m->own, document, e) ||
        data_lag_show(&m->data, document, e) ||
        (m->copy.tables_total > 0 && copy_show(&m->copy, document, e)))
        return e->code;
    return agent_publish(agent, &document, f->is_ready, e);
}

static enum rc look(struct agent *agent, struct mirror *m, struct err *e)
{
    auto_facts struct facts f = {0};
    char why[MIRROR_WHY_MAX];
    enum rc rc = facts_read(m->own, &f, e);
    if (rc == RC_INVALID) {
        m->is_promoted = true;
        return err_fail(e, RC_CANCELLED, "PROMOTED: this site is the primary now");
    }
    if (rc)
        return rc;
    if (f.local_bucket && data_lag_read(m->own, &m->data, e))
        return e->code;
    ask_primary(m, &f);
    watch_beats(m, &f);
    const struct mirror_sight sight = sight_of(m, &f);
    enum mirror_state before = mirror_state_parse(f.state);
    enum mirror_state state = mirror_state_next(before, &sight, why);
    /* What keeps its state keeps its reason: LOST was explained by whoever saw it. */
    const char *reason = why[0] || state != before || !f.detail ? why : f.detail;
    if (state == MIRROR_FOLLOWING)
        reason = "";
    tell_state(m, state, reason);
    if (watch_copy(m, &f, e))
        return e->code;
    count(m, &f);
    if (note_state(m, state, reason, e) || count_audit(m, e) || mend(m, &f, state, e))
        return e->code;
    return publish(agent, m, &f, reason, e);
}

/* ------------------------------------------------------------------------------------- the agent
 */

/* Take the lock that lives with the connection; *out says whether it is ours. */
static enum rc take_lock(struct mirror *m, bool *out, struct err *e)
{
    if (!m->has_lock && mirror_lock(m->own, &m->has_lock, e))
        return e->code;
    if (!m->has_lock && !m->was_told_to_wait)
        log_warn("another agent, or a join, is at work on this mirror; waiting for it to end");
    m->was_told_to_wait = !m->has_lock;
    *out = m->has_lock;
    return RC_OK;
}

static enum rc turn(struct agent *agent, void *arg, struct err *e)
{
    struct mirror *m = arg;
    if (!m->own || !pg_is_open(m->own)) {
        m->has_lock = false;
        if (mirror_reconnect(&m->own, m->url, NULL, e))
            return e->code;
        log_info("connected to PostgreSQL");
    }
    bool is_ours = false;
    if (take_lock(m, &is_ours, e))
        return e->code;
    return is_ours ? look(agent, m, e) : agent_publish_waiting(agent, e);
}

/* The first connection is not retried: a wrong URL is the caller's to know at once. */
static enum rc begin(struct mirror *m, struct err *e)
{
    auto_facts struct facts f = {0};
    if (mirror_reconnect(&m->own, m->url, NULL, e))
        return e->code;
    return facts_read(m->own, &f, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct run_options *o = into;
    struct mirror m = {.url = arguments[0]};
    const struct agent_options agent = {
        .listen = o->metrics, .period_ms = LOOK_MS, .role = "mirror", .work = turn, .arg = &m};
    if (command_log_init("tarn-mirror", &o->log, e))
        return e->code;
    agent_hold_signals();
    enum rc rc = begin(&m, e);
    if (!rc)
        rc = agent_run(&agent, e);
    home_close(&m.home);
    copy_plan_free(&m.plan);
    pg_close(&m.primary);
    pg_close(&m.own);
    if (m.is_promoted) {
        log_info("%s; start tarn primary run, and tarn syncer run where it has a bucket", e->text);
        *e = ERR_INIT;
        rc = RC_OK;
    }
    if (!rc)
        log_info("ended");
    return rc;
}

int mirror_run(int argc, char **argv)
{
    struct run_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
