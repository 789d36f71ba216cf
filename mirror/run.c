/*
 * run: the agent of a mirror site. Each second it looks (mirror/run_see.c), names the state
 * (mirror/state.c), shows it, and mends what it can (mirror/run_mend.c, mirror/reseed.h).
 */
#include <stddef.h>
#include <string.h>

#include "fs/base/agent.h"
#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/meta/finding.h"
#include "mirror/audit_show.h"
#include "mirror/gauges.h"
#include "mirror/heal_show.h"
#include "mirror/mirror.h"
#include "mirror/run_impl.h"

#define LOOK_MS  1000
#define AUDIT_MS 15000 /* between two looks at what the last audit found */

static const struct conf_option options[] = {
    {.name = "metrics",
     .type = CONF_STRING,
     .help = "serve /metrics, /healthz, /readyz and /v1/status on HOST:PORT",
     .offset = offsetof(struct run_options, metrics)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary, should the subscription be gone; give it by the environment",
     .offset = offsetof(struct run_options, primary_password)},
    {.name = "reseed",
     .type = CONF_FLAG,
     .default_text = "true",
     .help = "copy a mirror that is LOST anew by itself, beside the copy that serves",
     .offset = offsetof(struct run_options, reseed)},
    {.name = "keep-old",
     .type = CONF_FLAG,
     .help = "then keep the old copy, as another database, for a person to drop",
     .offset = offsetof(struct run_options, keep_old)},
    COMMAND_LOG_OPTIONS(struct run_options, log),
};

static const struct conf_command command = {
    .name = "tarn mirror run",
    .arguments = "MIRROR-URL",
    .summary = "the agent of a mirror site: state, lag, healing",
    .details =
        "  tarn mirror run postgres://owner@db.tokyo/volume --metrics 127.0.0.1:9662\n\n"
        "Runs in the foreground until SIGTERM, through restarts of both servers and cuts of\n"
        "the line. A mirror that is LOST stays readable, and is copied anew into a second\n"
        "database beside it (the disk must have room for both); then the two exchange their\n"
        "names and mounts go on with the new one. Not so where a person has to decide: the\n"
        "primary is another cluster, or an older state of it whose epoch was not raised.\n"
        "--no-reseed leaves it to tarn mirror reseed.\n"
        "Exit codes: 0 ended by a signal, or the site has been promoted, 3 unreachable at the\n"
        "start, 4 denied, 5 no mirror there.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* --------------------------------------------------------------------------------- what is shown
 */

static enum log_level level_of(enum mirror_state state)
{
    if (state == MIRROR_LOST)
        return LOG_LEVEL_ERROR;
    return state == MIRROR_STALLED || state == MIRROR_REJOINING ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
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
    if (!m->has_shown || m->shown != state) {
        log_write(level_of(state), "state %s%s%s", mirror_state_name(state), why[0] ? ": " : "",
                  why);
        gauges_transition(state);
    }
    m->shown = state;
    m->has_shown = true;
}

static enum rc count_audit(struct mirror *m, struct err *e)
{
    if (clock_ms() < m->audit_due_ms)
        return RC_OK;
    m->audit_due_ms = clock_deadline(AUDIT_MS);
    return audit_count_last(m->own, e);
}

static enum rc publish(struct agent *agent, struct mirror *m, struct facts *f, const char *why,
                       struct err *e)
{
    auto_json struct json *document = NULL;
    auto_json struct json *healing = NULL;
    f->state = mirror_state_name(m->shown);
    f->detail = why[0] ? why : f->detail;
    if (facts_document(f, &m->said, &document, e) || audit_add_last(m->own, document, e) ||
        data_lag_show(&m->data, document, e) ||
        (m->copy.tables_total > 0 && copy_show(&m->copy, document, e)) ||
        heal_document(m->own, &healing, e))
        return e->code;
    gauges_set(f, &m->said, m->shown);
    gauges_heal(healing);
    m->version = json_get_int(healing, "version", 0);
    m->has_statements = json_length(json_get(healing, "statements")) > 0;
    if (json_set(document, "healing", &healing, e))
        return e->code;
    return agent_publish(agent, &document, f->is_ready, e);
}

static enum rc look(struct agent *agent, struct mirror *m, struct err *e)
{
    auto_facts struct facts f = {0};
    char why[MIRROR_WHY_MAX];
    enum reseed_at at;
    enum rc rc = facts_read(m->own, &f, e);
    if (rc == RC_INVALID) {
        m->is_promoted = true;
        gauges_transition(MIRROR_PROMOTED);
        return err_fail(e, RC_CANCELLED, "PROMOTED: this site is the primary now");
    }
    if (rc)
        return rc;
    if (f.local_bucket && data_lag_read(m->own, &m->data, e))
        return e->code;
    run_see(m, &f);
    const struct mirror_sight sight = run_sight(m, &f);
    enum mirror_state before = mirror_state_parse(f.state);
    enum mirror_state state = mirror_state_next(before, &sight, why);
    /* What keeps its state keeps its reason: LOST was explained by whoever saw it. */
    const char *reason = why[0] || state != before || !f.detail ? why : f.detail;
    if (state == MIRROR_FOLLOWING)
        reason = "";
    tell_state(m, state, reason);
    if (run_watch_copy(m, &f, e))
        return e->code;
    bool is_new_loss = state == MIRROR_LOST && before != MIRROR_LOST;
    if (is_new_loss ? run_lose(m, mirror_lost_by(&sight), reason, e)
                    : note_state(m, state, reason, e))
        return e->code;
    if (publish(agent, m, &f, reason, e) || count_audit(m, e) || run_mend(m, &f, state, e))
        return e->code;
    if (reseed_step(m->reseed, &m->own, &f, &at, e))
        return e->code;
    if (at == RESEED_SWITCHED)
        run_forget(m);
    return RC_OK;
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

/* The database was there: it is being renamed, or restored, and will be again. */
static enum rc come_back(struct mirror *m, struct err *e)
{
    run_forget(m);
    if (e->code == RC_NOT_FOUND)
        e->code = RC_UNAVAILABLE;
    return e->code;
}

static enum rc turn(struct agent *agent, void *arg, struct err *e)
{
    struct mirror *m = arg;
    if (!m->own || !pg_is_open(m->own)) {
        m->has_lock = false;
        if (mirror_reconnect(&m->own, m->url, NULL, e))
            return come_back(m, e);
        log_info("connected to PostgreSQL");
    }
    bool is_ours = false;
    if (take_lock(m, &is_ours, e))
        return e->code;
    return is_ours ? look(agent, m, e) : agent_publish_waiting(agent, e);
}

/*
 * This version's tables and functions, where they are missing: a mirror has them before its primary
 * publishes what is new in them. Those of a newer version are left alone.
 */
static enum rc upgrade(struct mirror *m, struct err *e)
{
    auto_result struct pg_result *target = NULL;
    enum rc rc = findings_prepare(m->own, clock_deadline(MIRROR_CALL_MS), e);
    if (!rc)
        rc = pg_call(m->own, "SELECT pg_temp.target_state()", NULL, 0,
                     clock_deadline(MIRROR_CALL_MS), &target, e);
    if (rc)
        return rc;
    const char *is = pg_get_text(target, 0, 0);
    if (strcmp(is, "mirror") == 0 || strcmp(is, "joining") == 0)
        rc = meta_install_missing(m->own, clock_deadline(MIRROR_CALL_MS), e);
    if (rc != RC_STALE)
        return rc;
    log_err(LOG_LEVEL_WARN, e, "another version is at work on this mirror; its tables stay");
    *e = ERR_INIT;
    return RC_OK;
}

/* The first connection is not retried: a wrong URL is the caller's to know at once. */
static enum rc begin(struct mirror *m, struct err *e)
{
    auto_facts struct facts f = {0};
    if (mirror_reconnect(&m->own, m->url, NULL, e) || upgrade(m, e) || facts_read(m->own, &f, e))
        return e->code;
    return mirror_do_hushed(m->own, "SELECT * FROM tarn_1.guard_subscription()", NULL, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct run_options *o = into;
    struct mirror m = {.url = arguments[0], .options = o};
    const struct agent_options agent = {
        .listen = o->metrics, .period_ms = LOOK_MS, .role = "mirror", .work = turn, .arg = &m};
    if (command_log_init("tarn-mirror", &o->log, e))
        return e->code;
    agent_hold_signals();
    enum rc rc = begin(&m, e);
    if (!rc)
        rc = reseed_open(&m.reseed, m.url, o->primary_password, e);
    if (!rc)
        rc = agent_run(&agent, e);
    reseed_close(&m.reseed);
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
