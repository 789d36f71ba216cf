#include "fs/meta/retry.h"

#include <errno.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/meta/fresh_read.h"
#include "fs/meta/handle.h"
#include "fs/meta/place.h"

#define PAUSE_FIRST_MS 10
#define PAUSE_MAX_MS   1000
#define PASSING_TRIES  6
/* How long a primary that takes no writes is taken for one that is being replaced. */
#define READ_ONLY_MS 30000
/* How long one waits for the answer of another site's primary that one can do without. */
#define FAR_CALL_MS 20000

METRIC_DEFINE(retries, METRIC_COUNTER, "tarn_meta_retries_total", NULL,
              "calls to PostgreSQL that were made again")

/* How one call is insisted on. */
struct effort {
    bool at_primary, is_probe; /* is_probe: try a primary that is known to be away */
    uint64_t deadline_ms;
    uint64_t patience_ms; /* until when a primary of another site may be away */
    uint64_t readonly_ms; /* and be read-only */
};

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

/*
 * The volume was there when it was opened, so a database without the functions is one that is being
 * restored or upgraded. "Not found" would be taken for an answer about a file.
 */
static enum rc not_here(struct err *e)
{
    if (e->code == RC_NOT_FOUND)
        e->code = RC_UNAVAILABLE;
    return e->code;
}

/* The deadline passed: say so as one code, whatever the last attempt died of. */
static enum rc give_up(struct err *e)
{
    const struct err last = *e;
    return err_fail(e, RC_UNAVAILABLE, "gave up after retries: %s", last.text);
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* For a call that its caller needs the outcome of. */
static struct effort whole_effort(const struct meta *meta)
{
    const uint64_t patience_ms = meta->wait_primary_ms;
    const uint64_t whole_ms = patience_ms > meta->timeout_ms ? patience_ms : meta->timeout_ms;
    return (struct effort){.at_primary = true,
                           .deadline_ms = clock_deadline(whole_ms),
                           .patience_ms = clock_deadline(patience_ms),
                           .readonly_ms = clock_deadline(lesser(meta->timeout_ms, READ_ONLY_MS))};
}

/* For one that the caller can do without, or will make again. */
static struct effort brief_effort(struct meta *meta)
{
    const uint64_t far_ms = lesser(meta->timeout_ms, FAR_CALL_MS);
    return (struct effort){.at_primary = true,
                           .deadline_ms =
                               clock_deadline(place_is_mirror(meta) ? far_ms : meta->timeout_ms)};
}

/* Nobody need try to connect to a primary that was away a moment ago, but who waits for it anyway.
 */
static bool is_pointless(const struct server *server, const struct effort *effort,
                         bool is_uncertain)
{
    return server->is_far && atomic_load(&server->is_away) && !is_uncertain && !effort->is_probe &&
           clock_left(effort->patience_ms) == 0;
}

static enum rc attempt(struct server *server, const struct call *call, const struct effort *effort,
                       bool is_uncertain, struct pg_result **out, struct pg_words *words,
                       struct err *e)
{
    *words = (struct pg_words){.sqlstate = ""};
    if (is_pointless(server, effort, is_uncertain))
        return err_fail(e, RC_UNAVAILABLE, "the primary is away");
    return server_call(server, call, effort->deadline_ms, out, words, e);
}

/* The primary takes no writes: it is about to become a mirror, and another site the primary. */
static bool is_handing_over(const struct meta *meta, const struct effort *effort,
                            const struct pg_words *words)
{
    return effort->at_primary && meta->follows_primary && strcmp(words->sqlstate, "25006") == 0 &&
           clock_left(effort->readonly_ms) > 0;
}

/* Another site's primary is away, and nobody is to wait for it. */
static bool is_out_of_patience(const struct server *server, const struct effort *effort, enum rc rc,
                               unsigned tries)
{
    const bool is_lost = rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN;
    return server->is_far && is_lost && clock_left(effort->patience_ms) == 0 &&
           (tries > 0 || atomic_load(&server->is_away));
}

/*
 * Make the call until it has a definite outcome or the deadline has passed. *is_uncertain is set
 * once an attempt may have been carried out unseen, and left alone otherwise; NULL: that would do
 * no harm.
 */
static enum rc insist(struct meta *meta, const struct call *call, const struct effort *effort,
                      bool *is_uncertain, struct pg_result **out, struct err *e)
{
    struct pg_words words;
    unsigned races = 0; /* counted apart: a poor line is no sign that they will not pass */
    for (unsigned tries = 0;; tries++) {
        struct server *server = effort->at_primary ? place_primary(meta) : meta->here;
        if (!server)
            return err_fail(e, RC_UNAVAILABLE, "this site does not know its primary");
        const bool was_doubted = is_uncertain && *is_uncertain;
        enum rc rc = attempt(server, call, effort, was_doubted, out, &words, e);
        if (is_uncertain && (rc == RC_UNCERTAIN || rc == RC_TIMEOUT))
            *is_uncertain = true;
        if (rc == RC_TIMEOUT)
            return give_up(e);
        if (rc == RC_OK)
            *e = ERR_INIT; /* what went wrong before is over */
        const bool is_race = rc && is_passing(&words) && ++races <= PASSING_TRIES;
        const bool is_leaving = rc && is_handing_over(meta, effort, &words);
        if (!is_transient(rc) && !is_race && !is_leaving)
            return rc ? not_here(e) : RC_OK;
        const bool is_doubted = is_uncertain && *is_uncertain;
        if (!is_doubted && is_out_of_patience(server, effort, rc, tries))
            return give_up(e);
        if (is_leaving || (server->is_far && rc != RC_STALE))
            place_suspect(meta);

        /* A first loss is mostly a server that was restarted while we were idle: try at once. */
        uint64_t resume_ms = tries == 0 ? 0 : clock_deadline(pause_ms(tries - 1));
        if (resume_ms >= effort->deadline_ms)
            return give_up(e);
        log_err(LOG_LEVEL_DEBUG, e, "metadata call is made again");
        metric_add(&retries, 1);
        clock_sleep_until(resume_ms);
    }
}

/* ---- calls that may be repeated ---- */

enum rc retry_here(struct meta *meta, const struct call *call, struct pg_result **out,
                   struct err *e)
{
    const struct effort effort = {.deadline_ms = clock_deadline(meta->timeout_ms)};
    return insist(meta, call, &effort, NULL, out, e);
}

enum rc retry_at_primary(struct meta *meta, const struct call *call, struct pg_result **out,
                         struct err *e)
{
    const struct effort effort = brief_effort(meta);
    return insist(meta, call, &effort, NULL, out, e);
}

enum rc retry_probe(struct meta *meta, const struct call *call, struct pg_result **out,
                    struct err *e)
{
    struct effort effort = brief_effort(meta);
    effort.is_probe = true;
    return insist(meta, call, &effort, NULL, out, e);
}

/* What was certainly not done because another site's primary is away, is refused. */
static enum rc refuse_if_away(struct meta *meta, bool is_uncertain, struct err *e)
{
    if (e->code != RC_UNAVAILABLE || is_uncertain || !place_is_mirror(meta))
        return e->code;
    const struct err why = *e;
    return err_refused(e, EROFS, "the primary cannot be reached: %s", why.text);
}

enum rc retry_change(struct meta *meta, const struct call *call, struct pg_result **out,
                     struct err *e)
{
    const struct effort effort = whole_effort(meta);
    enum rc rc = insist(meta, call, &effort, NULL, out, e);
    return rc ? refuse_if_away(meta, false, e) : RC_OK;
}

enum rc retry_read(struct meta *meta, const struct call *call, struct pg_result **out,
                   struct err *e)
{
    return place_is_mirror(meta) && freshness_owes(&meta->fresh) ? fresh_read(meta, call, out, e)
                                                                 : retry_here(meta, call, out, e);
}

/* ---- mutations ---- */

/* Was the answer that the session is over? Then the operation was not carried out. */
static bool is_fenced(const struct pg_result *answer)
{
    return pg_rows(answer) == 1 && pg_get_int4(answer, 0, pg_column(answer, "err")) == ESTALE;
}

/* Over, unless it was followed by one at another site: then the operation may be sent there anew.
 */
static enum rc fenced(struct meta *meta, const struct lane *lane, struct pg_result **answer,
                      struct err *e)
{
    pg_result_free(answer);
    if (!meta_session_followed(meta, lane->sid))
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
                       const struct effort *effort, struct pg_result **out, struct err *e)
{
    call->params[0] = pg_int8((int64_t)lane->sid);
    call->params[1] = pg_int4(lane->number);
    call->params[2] = pg_int8(lane->op + 1);
    enum rc rc = insist(meta, call, effort, &lane->is_uncertain, out, e);
    if (rc)
        return refuse_if_away(meta, lane->is_uncertain, e);
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

/* The same, for an operation that reads of this handle must show from then on. */
static enum rc send_shown(struct meta *meta, struct lane *lane, const struct call *call,
                          const struct effort *effort, struct pg_result **out, struct err *e)
{
    enum rc rc = send_op(meta, lane, call, effort, out, e);
    if (!rc && place_is_mirror(meta))
        freshness_answered(&meta->fresh, lane->sid, lane->number, lane->op);
    return rc;
}

static enum rc check_writable(const struct meta *meta, struct err *e)
{
    if (meta->is_read_only)
        return err_refused(e, EROFS, "the volume was opened read-only");
    return RC_OK;
}

static enum rc settle(struct meta *meta, struct lane *lane, struct err *e)
{
    if (lane_session_id(&meta->session) == 0 && meta_session_need(meta, e))
        return e->code;
    return lane_settle(lane, &meta->session, e);
}

/* Through a free lane, which goes over into *doubt when that failed. */
static enum rc send_in_free_lane(struct meta *meta, struct lane *doubt, const struct call *call,
                                 const struct effort *effort, struct pg_result **out, struct err *e)
{
    struct lane *lane;
    if (lane_take(&meta->lanes, effort->deadline_ms, &lane, e))
        return e->code;
    enum rc rc = settle(meta, lane, e);
    if (!rc) {
        rc = send_shown(meta, lane, call, effort, out, e);
        if (rc)
            *doubt = *lane;
    }
    lane_give(&meta->lanes, lane);
    return rc;
}

/* Was the session that refused this lane followed by another? Then the lane begins anew there. */
static bool begin_anew(struct meta *meta, struct lane *lane, enum rc rc)
{
    if (rc != RC_STALE || !lane_session_follows(&meta->session, lane->sid))
        return false;
    *lane = (struct lane){.sid = 0};
    return true;
}

enum rc retry_doubted(struct meta *meta, struct lane *doubt, const struct call *call,
                      struct pg_result **out, struct err *e)
{
    const struct effort effort = whole_effort(meta);
    enum rc rc = check_writable(meta, e);
    if (rc)
        return rc;
    do
        rc = doubt->is_uncertain ? send_shown(meta, doubt, call, &effort, out, e)
                                 : send_in_free_lane(meta, doubt, call, &effort, out, e);
    while (begin_anew(meta, doubt, rc));
    return rc;
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
    struct effort effort = brief_effort(meta);
    effort.readonly_ms = effort.deadline_ms;
    enum rc rc = check_writable(meta, e);
    if (rc)
        return rc;
    do {
        rc = lane->is_uncertain ? RC_OK : settle(meta, lane, e);
        if (!rc)
            rc = send_op(meta, lane, call, &effort, out, e);
    } while (begin_anew(meta, lane, rc));
    return rc;
}
