/*
 * What the agent of a mirror mends: a join that was interrupted, a line that swallows everything,
 * columns and tables that the primary has changed, and a copy that is lost.
 */
#include <inttypes.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/follow.h"
#include "mirror/mend.h"
#include "mirror/mirror.h"
#include "mirror/run_impl.h"

#define TABLES_MS        15000 /* between two tries to follow what the primary has changed */
#define WORKER_SILENT_MS 45000 /* a worker whose server said nothing for so long is ended */

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

/* A line that swallows everything: the next worker connects anew, whatever the server's timeouts.
 */
static enum rc end_silent_worker(struct mirror *m, const struct facts *f, struct err *e)
{
    if (!f->has_worker || !f->received_lsn || f->message_age_ms < WORKER_SILENT_MS ||
        clock_ms() < m->worker_due_ms)
        return RC_OK;
    m->worker_due_ms = clock_deadline(WORKER_SILENT_MS);
    log_warn("the primary has said nothing for %" PRId64 " s: connecting anew",
             f->message_age_ms / 1000);
    return mirror_do(m->own, "SELECT * FROM tarn_1.worker_end()", NULL, e);
}

/* What comes from now on would be applied upon rows that are missing. */
static enum rc stop_following(struct mirror *m, struct err *e)
{
    if (mirror_do(m->own, "SELECT * FROM tarn_1.follow_switch(false)", NULL, e))
        return err_note(e, "could not stop the subscription of a mirror that is lost");
    return RC_OK;
}

enum rc run_lose(struct mirror *m, const char *by, const char *why, struct err *e)
{
    const struct pg_param params[] = {pg_text(by), pg_text(why)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(m->own, "SELECT * FROM tarn_1.lose($1,$2)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not note that the mirror is lost");
    return strcmp(by, "given_up") == 0 ? RC_OK : stop_following(m, e);
}

/*
 * What is LOST stays as it is, at the last good point, until a new copy takes its place. Two things
 * are no reason for one: deletions that did not wait, which it catches up with, and a primary that
 * may not be the right one.
 */
static enum rc heal_lost(struct mirror *m, const struct facts *f, struct err *e)
{
    if (!f->lost_by)
        return RC_OK; /* said by a person, who does the rest as well */
    if (strcmp(f->lost_by, "given_up") == 0) {
        bool is_over = m->evidence.is_heard && !m->evidence.lost_by[0];
        if (m->said.is_reached && (!m->said.has_slot || strcmp(m->said.wal_status, "lost") == 0))
            return run_lose(m, "slot", "the replication slot at the primary is gone", e);
        return is_over ? mirror_do(m->own, "SELECT * FROM tarn_1.given_up_is_over()", NULL, e)
                       : RC_OK;
    }
    if (f->is_enabled && stop_following(m, e))
        return e->code;
    bool is_same = strcmp(f->lost_by, "gap") == 0 || strcmp(f->lost_by, "slot") == 0;
    bool is_raised = strcmp(f->lost_by, "went_back") == 0 && m->evidence.epoch > f->epoch;
    if (!m->options->reseed || !m->said.is_reached || (!is_same && !is_raised))
        return RC_OK;
    return reseed_want(m->own, f->detail ? f->detail : "", m->options->keep_old, e);
}

/* The primary publishes nothing new before every mirror can take it, so it has to know. */
static void report_version(struct mirror *m, const struct facts *f)
{
    struct err older = ERR_INIT;
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_text(f->name), pg_int4((int32_t)m->version)};
    if (m->has_reported || !m->version || !m->said.is_reached || !pg_is_open(m->primary))
        return;
    struct pg *home = home_reach(&m->home, m->own, m->primary, f);
    m->has_reported = true;
    if (home && pg_call(home, "SELECT tarn_1.site_reports($1,$2)", params, 2,
                        clock_deadline(MIRROR_ASK_MS), &row, &older))
        log_err(LOG_LEVEL_DEBUG, &older, "the primary does not keep the versions of its mirrors");
}

/* Apply fails, perhaps for want of a column; or one was left to a person, who may have been here.
 */
static bool wants_columns(struct mirror *m, const struct facts *f, enum mirror_state state)
{
    bool is_stopped = state == MIRROR_STALLED || state == MIRROR_COPYING;
    bool is_due = m->has_statements && clock_ms() >= m->statements_due_ms;
    if (!m->said.is_reached || !pg_is_open(m->primary))
        return false;
    m->statements_due_ms = is_due ? clock_deadline(TABLES_MS) : m->statements_due_ms;
    return is_due || (is_stopped && f->errors > m->errors_at_ease);
}

enum rc run_mend(struct mirror *m, const struct facts *f, enum mirror_state state, struct err *e)
{
    report_version(m, f);
    if (state == MIRROR_LOST)
        return heal_lost(m, f, e);
    if (state == MIRROR_STALLED && end_silent_worker(m, f, e))
        return e->code;
    if (wants_columns(m, f, state) && mend_columns(m->own, m->primary, e))
        return e->code;
    follow_new_tables(m, f);
    return finish_join(m, f, e);
}
