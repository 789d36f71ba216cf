#include "fs/meta/retry.h"

#include <errno.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/meta/handle.h"

#define PAUSE_FIRST_MS 10
#define PAUSE_MAX_MS   1000
#define PASSING_TRIES  6

METRIC_DEFINE(exchanges, METRIC_COUNTER, "tarn_meta_exchanges_total", NULL,
              "calls sent to PostgreSQL")
METRIC_DEFINE(retries, METRIC_COUNTER, "tarn_meta_retries_total", NULL,
              "calls to PostgreSQL that were made again")
METRIC_DEFINE(call_time, METRIC_HISTOGRAM, "tarn_meta_call_seconds", NULL,
              "time of one exchange with PostgreSQL")

/* What another try may overcome: the server is back, or the other transaction done. */
static bool is_transient(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN || rc == RC_STALE;
}

/*
 * Errors that rolled the call back and are mostly over at the next try: a row that a stock client
 * inserted between our look and our insert, and the gap between old and new functions while they
 * are installed anew (no such function or schema, or an internal "cache lookup failed"). What is
 * still so after a few tries is no race.
 */
static bool is_passing(const struct pg_words *words)
{
    static const char *const states[] = {"23505", "42883", "3F000", "XX000"};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(words->sqlstate, states[i]) == 0)
            return true;
    return false;
}

/* Half to full of a pause that doubles, so that a thousand mounts do not come back in step. */
static uint64_t pause_ms(unsigned tries)
{
    uint64_t full = tries < 7 ? (uint64_t)PAUSE_FIRST_MS << tries : PAUSE_MAX_MS;
    if (full > PAUSE_MAX_MS)
        full = PAUSE_MAX_MS;
    return full / 2 + hash_u64(clock_us()) % (full / 2 + 1);
}

/* conn is the caller's alone. */
static enum rc reconnect(struct meta *meta, struct conn *conn, uint64_t deadline_ms, struct err *e)
{
    pg_close(&conn->pg);
    uint64_t until = clock_deadline(meta->connect_timeout_ms);
    const struct pg_options options = {.url = meta->url, .application = meta->application};
    return pg_open(&conn->pg, &options, until < deadline_ms ? until : deadline_ms, e);
}

/*
 * The volume was there when it was opened, so a server without the database or the functions is
 * one that is being restored, upgraded or is the wrong one for now. "Not found" would be taken for
 * an answer about a file.
 */
static enum rc not_here(struct err *e)
{
    if (e->code == RC_NOT_FOUND)
        e->code = RC_UNAVAILABLE;
    return e->code;
}

static enum rc send_call(struct meta *meta, struct conn *conn, const struct call *call,
                         uint64_t deadline_ms, struct pg_result **out, struct pg_words *words,
                         struct err *e)
{
    atomic_fetch_add_explicit(&meta->exchanges, 1, memory_order_relaxed);
    metric_add(&exchanges, 1);
    const uint64_t began_us = clock_us();
    enum rc rc =
        pg_call_shared(conn->pg, call->sql, call->params, call->count, deadline_ms, out, words, e);
    metric_observe_us(&call_time, clock_us() - began_us);
    return rc;
}

static enum rc attempt(struct meta *meta, const struct call *call, uint64_t deadline_ms,
                       struct pg_result **out, struct pg_words *words, struct err *e)
{
    struct conn *conn;
    bool is_unopened;
    *words = (struct pg_words){.sqlstate = ""};
    enum rc rc = conn_take(&meta->conns, call->is_long, deadline_ms, &conn, &is_unopened, e);
    if (rc)
        return rc;
    if (is_unopened) {
        rc = reconnect(meta, conn, deadline_ms, e) ? not_here(e) : RC_OK;
        if (!rc)
            conn_opened(&meta->conns, conn, call->is_long);
    }
    if (!rc)
        rc = send_call(meta, conn, call, deadline_ms, out, words, e);
    conn_give(&meta->conns, conn, call->is_long);
    return rc;
}

/* The deadline passed: say so as one code, whatever the last attempt died of. */
static enum rc give_up(struct err *e)
{
    const struct err last = *e;
    return err_fail(e, RC_UNAVAILABLE, "gave up after retries: %s", last.text);
}

/*
 * Make the call until it has a definite outcome or the deadline has passed. *is_uncertain is set
 * once an attempt may have been carried out unseen, and left alone otherwise.
 */
static enum rc insist(struct meta *meta, const struct call *call, uint64_t deadline_ms,
                      bool *is_uncertain, struct pg_result **out, struct err *e)
{
    struct pg_words words;
    unsigned races = 0; /* lost connections before leave a race all its tries */
    for (unsigned tries = 0;; tries++) {
        enum rc rc = attempt(meta, call, deadline_ms, out, &words, e);
        if (rc == RC_UNCERTAIN || rc == RC_TIMEOUT)
            *is_uncertain = true;
        if (rc == RC_TIMEOUT)
            return give_up(e);
        if (rc == RC_OK)
            *e = ERR_INIT; /* what went wrong before is over */
        bool is_race = rc && races < PASSING_TRIES && is_passing(&words);
        races += is_race;
        if (!is_transient(rc) && !is_race)
            return rc ? not_here(e) : RC_OK;

        /* A first loss is mostly a server that was restarted while we were idle: try at once. */
        uint64_t resume_ms = tries == 0 ? 0 : clock_deadline(pause_ms(tries - 1));
        if (resume_ms >= deadline_ms)
            return give_up(e);
        log_err(LOG_LEVEL_DEBUG, e, "metadata call is made again");
        metric_add(&retries, 1);
        clock_sleep_until(resume_ms);
    }
}

enum rc retry_read(struct meta *meta, const struct call *call, struct pg_result **out,
                   struct err *e)
{
    bool is_uncertain = false; /* of no interest: nothing was changed */
    return insist(meta, call, clock_deadline(meta->timeout_ms), &is_uncertain, out, e);
}

/* Was the answer that the session is over? Then the operation was not carried out. */
static bool is_fenced(const struct pg_result *answer)
{
    return pg_rows(answer) == 1 && pg_get_int4(answer, 0, pg_column(answer, "err")) == ESTALE;
}

static enum rc fenced(struct meta *meta, const struct lane *lane, struct pg_result **answer,
                      struct err *e)
{
    pg_result_free(answer);
    lane_session_lose(&meta->session, lane->sid);
    return err_fail(e, RC_STALE, "session %llu was ended by another client",
                    (unsigned long long)lane->sid);
}

/*
 * Send operation lane->op + 1 until it is answered. Any end without an answer after an uncertain
 * attempt leaves the lane uncertain, also a definite failure of a later attempt: that one says
 * nothing about the earlier.
 */
static enum rc send_op(struct meta *meta, struct lane *lane, const struct call *call,
                       uint64_t deadline_ms, struct pg_result **out, struct err *e)
{
    call->params[0] = pg_int8((int64_t)lane->sid);
    call->params[1] = pg_int4(lane->number);
    call->params[2] = pg_int8(lane->op + 1);
    enum rc rc = insist(meta, call, deadline_ms, &lane->is_uncertain, out, e);
    if (rc)
        return rc;
    if (is_fenced(*out))
        return fenced(meta, lane, out, e);
    if (pg_rows(*out) != 1) {
        lane->is_uncertain = true;
        pg_result_free(out);
        return err_fail(e, RC_CORRUPT, "a metadata function answered without its one row");
    }
    lane->op++;
    lane->is_uncertain = false;
    return RC_OK;
}

static enum rc check_writable(const struct meta *meta, struct err *e)
{
    if (meta->is_read_only)
        return err_refused(e, EROFS, "the volume was opened read-only");
    return RC_OK;
}

/* Through a free lane, which goes over into *doubt when it becomes uncertain. */
static enum rc send_in_free_lane(struct meta *meta, struct lane *doubt, const struct call *call,
                                 uint64_t deadline_ms, struct pg_result **out, struct err *e)
{
    struct lane *lane;
    if (lane_take(&meta->lanes, deadline_ms, &lane, e))
        return e->code;
    enum rc rc = lane_settle(lane, &meta->session, e);
    if (!rc) {
        rc = send_op(meta, lane, call, deadline_ms, out, e);
        if (rc)
            *doubt = *lane;
    }
    lane_give(&meta->lanes, lane);
    return rc;
}

enum rc retry_doubted(struct meta *meta, struct lane *doubt, const struct call *call,
                      struct pg_result **out, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(meta->timeout_ms);
    if (check_writable(meta, e))
        return e->code;
    if (doubt->is_uncertain)
        return send_op(meta, doubt, call, deadline_ms, out, e);
    return send_in_free_lane(meta, doubt, call, deadline_ms, out, e);
}

enum rc retry_mutation(struct meta *meta, const struct call *call, struct pg_result **out,
                       struct err *e)
{
    struct lane given_up = {.sid = 0};
    enum rc rc = retry_doubted(meta, &given_up, call, out, e);
    doubts_add(&meta->doubts, &given_up);
    return rc;
}

enum rc retry_in_lane(struct meta *meta, struct lane *lane, const struct call *call,
                      struct pg_result **out, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(meta->timeout_ms);
    if (check_writable(meta, e) || (!lane->is_uncertain && lane_settle(lane, &meta->session, e)))
        return e->code;
    return send_op(meta, lane, call, deadline_ms, out, e);
}
