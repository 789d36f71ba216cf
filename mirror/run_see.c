/*
 * What the agent of a mirror sees: its own database's facts over time, and what the primary says.
 */
#include <stddef.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"
#include "mirror/run_impl.h"

#define PRIMARY_MS            5000 /* between two questions to a primary that answers */
#define PRIMARY_AWAY_FIRST_MS 1000 /* and to one that does not: doubled each time */
#define PRIMARY_AWAY_MAX_MS   30000

void run_forget(struct mirror *m)
{
    pg_close(&m->primary);
    home_close(&m->home);
    copy_plan_free(&m->plan);
    m->said = (struct facts_primary){.is_reached = false};
    m->errors_at_ease = m->errors_explained = 0;
    m->apply_error[0] = '\0';
    m->has_seen_beat = m->has_marker = m->has_statements = false;
    m->ask_due_ms = 0;
}

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

/* The connection to the primary: made anew when it broke; the subscription knows how. */
static enum rc reach_primary(struct mirror *m, struct err *e)
{
    if (m->primary && !pg_is_open(m->primary))
        pg_close(&m->primary);
    if (m->primary)
        return RC_OK;
    m->has_reported = false;
    return mirror_connect_primary(m->own, &m->primary, MIRROR_ASK_MS, e);
}

static void plan_next_question(struct mirror *m, const struct err *why)
{
    if (m->said.is_reached) {
        m->ask_pause_ms = 0;
        m->ask_due_ms = clock_deadline(PRIMARY_MS);
    } else {
        m->ask_pause_ms = m->ask_pause_ms ? m->ask_pause_ms * 2 : PRIMARY_AWAY_FIRST_MS;
        if (m->ask_pause_ms > PRIMARY_AWAY_MAX_MS)
            m->ask_pause_ms = PRIMARY_AWAY_MAX_MS;
        m->ask_due_ms = clock_deadline(m->ask_pause_ms);
    }
    if (m->said.is_reached != m->was_reached)
        log_info("the primary %s%s%s", m->said.is_reached ? "answers" : "cannot be reached",
                 why->code ? ": " : "", why->code ? why->text : "");
    m->was_reached = m->said.is_reached;
}

/* Ask the primary now and then; a line that is down must not hold up the rest. */
static void ask_primary(struct mirror *m, const struct facts *f)
{
    m->evidence = (struct evidence){.is_heard = false};
    if (!f->has_subscription || clock_ms() < m->ask_due_ms)
        return;
    struct err e = ERR_INIT;
    m->said.is_reached = false;
    if (reach_primary(m, &e) == RC_OK)
        facts_ask_primary(m->primary, f->subscription, &m->said);
    home_ask(&m->home, m->own, m->primary, f, &m->said);
    if (m->said.is_reached && evidence_look(m->own, m->primary, f, &m->evidence, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not tell whether the primary is still the same");
    plan_next_question(m, &e);
}

/* Why apply fails, in PostgreSQL's words: looked up once for each error. */
static void explain_errors(struct mirror *m, const struct facts *f)
{
    struct err e = ERR_INIT;
    if (f->errors <= m->errors_at_ease) {
        m->apply_error[0] = '\0';
        m->errors_explained = f->errors;
    }
    if (f->errors <= m->errors_explained)
        return;
    if (evidence_apply_error(m->own, m->apply_error, &e))
        log_err(LOG_LEVEL_WARN, &e, "an error of apply stays unexplained");
    m->errors_explained = f->errors;
}

struct mirror_sight run_sight(const struct mirror *m, const struct facts *f)
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
        .lost_by = m->evidence.lost_by,
        .lost_why = m->evidence.lost_by[0] ? m->evidence.why : NULL,
        .apply_error = m->apply_error[0] ? m->apply_error : NULL,
    };
}

enum rc run_watch_copy(struct mirror *m, const struct facts *f, struct err *e)
{
    struct err ignored = ERR_INIT;
    m->copy.tables_total = 0;
    if (f->is_ready || f->tables_total == 0)
        return RC_OK;
    if (!m->plan && (!m->said.is_reached || copy_plan_make(&m->plan, m->primary, &ignored)))
        return RC_OK;
    return copy_look(m->plan, m->own, &m->copy, e);
}

void run_see(struct mirror *m, const struct facts *f)
{
    ask_primary(m, f);
    watch_beats(m, f);
    explain_errors(m, f);
}
