#include "fs/meta/fresh_read.h"

#include <assert.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "fs/meta/handle.h"

enum {
    WAIT_MS = 300,     /* for what is on its way, before the primary is asked */
    BARRIER_MS = 5000, /* for others' barrier, before the same */
    ALONE_MS = 5000,   /* while the primary cannot be asked */
    PAUSE_FIRST_MS = 1,
    PAUSE_MAX_MS = 16,
    PROOF_BYTES = 64 + 12 * FRESH_LANES,
};

METRIC_DEFINE(reads_waited, METRIC_COUNTER, "tarn_mount_reads_waited_total", NULL,
              "reads at a mirror that waited for something to arrive")
METRIC_DEFINE(reads_asked, METRIC_COUNTER, "tarn_mount_reads_asked_primary_total", NULL,
              "reads at a mirror that the primary answered")
METRIC_DEFINE(reads_failed, METRIC_COUNTER, "tarn_mount_reads_stale_total", NULL,
              "reads at a mirror that failed because nobody could answer them freshly")

/* The parameters of the call, then those of tarn_1.is_here(). */
struct proven_call {
    struct pg_param params[FRESH_CALL_PARAMS + FRESH_PARAMS];
    struct buf lanes, ops;
    struct call call;
};

static void proven_call_deinit(struct proven_call *p)
{
    buf_deinit(&p->lanes);
    buf_deinit(&p->ops);
}

static enum rc proven_call_init(struct proven_call *p, struct freshness *f, const struct call *call,
                                const struct fresh_want *want, struct err *e)
{
    struct pg_param *const proof = p->params + call->count;
    assert(call->count <= FRESH_CALL_PARAMS);
    buf_init(&p->lanes, PROOF_BYTES);
    buf_init(&p->ops, PROOF_BYTES);
    if (call->count)
        memcpy(p->params, call->params, (size_t)call->count * sizeof(*p->params));
    proof[0] = pg_int8((int64_t)want->sid);
    proof[3] = pg_text(f->mark);
    proof[4] = pg_int8(want->mark_value);
    p->call = (struct call){NULL, p->params, call->count + FRESH_PARAMS, call->is_long};
    if (pg_int8_array(&p->lanes, want->lanes, want->count, &proof[1], e) ||
        pg_int8_array(&p->ops, want->ops, want->count, &proof[2], e))
        return e->code;
    return freshness_wrap(f, call->sql, call->count, &p->call.sql, e);
}

/* Is the answer a proven one? Then show what the caller's own call would have answered. */
static bool is_proven(struct pg_result *answer)
{
    if (pg_rows(answer) < 1 || !pg_get_bool(answer, 0, pg_column(answer, "tarn_here")))
        return false;
    if (pg_is_null(answer, 0, pg_column(answer, "tarn_row")))
        pg_hide_rows(answer);
    return true;
}

/* Read here until that proves itself; *out stays NULL when until_ms has passed before. */
static enum rc poll_here(struct meta *meta, const struct call *call, uint64_t until_ms,
                         struct pg_result **out, struct err *e)
{
    for (uint64_t pause_ms = PAUSE_FIRST_MS;; pause_ms *= 2) {
        auto_result struct pg_result *answer = NULL;
        if (retry_here(meta, call, &answer, e))
            return e->code;
        if (is_proven(answer)) {
            *out = answer;
            answer = NULL;
            return RC_OK;
        }
        if (clock_left(until_ms) == 0)
            return RC_OK;
        if (pause_ms == PAUSE_FIRST_MS)
            metric_add(&reads_waited, 1);
        pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
        clock_sleep_until(clock_deadline(pause_ms));
    }
}

/* *out stays NULL when this site cannot prove within wait_ms what the read has to show. */
static enum rc read_here(struct meta *meta, const struct call *call, uint64_t wait_ms,
                         struct pg_result **out, struct err *e)
{
    struct freshness *f = &meta->fresh;
    struct fresh_want want;
    __attribute__((cleanup(proven_call_deinit))) struct proven_call proven;
    proven = (struct proven_call){.call = {.sql = NULL}};
    struct err no_barrier =
        ERR_INIT; /* the primary is away or takes no writes: it may yet answer */
    if (freshness_want(f, meta, clock_deadline(BARRIER_MS), &want, &no_barrier))
        return RC_OK;
    if (proven_call_init(&proven, f, call, &want, e) ||
        poll_here(meta, &proven.call, clock_deadline(wait_ms), out, e))
        return e->code;
    if (*out)
        freshness_shown(f, &want);
    else
        freshness_fell_behind(f);
    return RC_OK;
}

static enum rc ask_primary(struct meta *meta, const struct call *call, struct pg_result **out,
                           struct err *e)
{
    enum rc rc = retry_at_primary(meta, call, out, e);
    if (rc)
        return rc;
    metric_add(&reads_asked, 1);
    freshness_asked(&meta->fresh);
    return RC_OK;
}

static enum rc stale(struct err *e)
{
    const struct err why = *e;
    metric_add(&reads_failed, 1);
    return err_fail(e, RC_UNAVAILABLE,
                    "what must be seen has not arrived at this mirror, and its primary cannot be "
                    "asked: %s",
                    why.text);
}

/* Nobody can be asked: only time helps, or the primary's return. */
static enum rc read_alone(struct meta *meta, const struct call *call, struct pg_result **out,
                          struct err *e)
{
    const uint64_t until_ms = clock_deadline(ALONE_MS);
    for (;;) {
        struct err here = ERR_INIT;
        if (read_here(meta, call, PAUSE_MAX_MS, out, &here)) {
            *e = here;
            return here.code;
        }
        if (*out)
            return RC_OK;
        if (clock_left(until_ms) == 0)
            return stale(e);
        clock_sleep_until(clock_deadline(PAUSE_MAX_MS));
        *e = ERR_INIT;
        if (ask_primary(meta, call, out, e) != RC_UNAVAILABLE)
            return e->code;
    }
}

enum rc fresh_read(struct meta *meta, const struct call *call, struct pg_result **out,
                   struct err *e)
{
    *out = NULL;
    if (!freshness_is_behind(&meta->fresh) && read_here(meta, call, WAIT_MS, out, e))
        return e->code;
    if (*out)
        return RC_OK;
    enum rc rc = ask_primary(meta, call, out, e);
    return rc == RC_UNAVAILABLE ? read_alone(meta, call, out, e) : rc;
}
