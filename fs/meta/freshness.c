#include "fs/meta/freshness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/metric.h"

/* All mounts share so many markers: few rows, and few that wait for one another. */
#define MARKS      64
#define LOOK_MS    100
#define TEXT_BYTES 1024

METRIC_DEFINE(barriers, METRIC_COUNTER, "tarn_mount_barriers_total", NULL,
              "markers advanced at the primary to prove that reads are fresh")
METRIC_DEFINE(behind, METRIC_GAUGE, "tarn_mount_is_behind", NULL,
              "1 while reads go to the primary because this mirror has not caught up")

void freshness_init(struct freshness *f, enum meta_freshness level)
{
    *f = (struct freshness){.level = level};
    (void)snprintf(f->mark, sizeof(f->mark), "strict/%u", (unsigned)hash_u64(clock_us()) % MARKS);
    lock_init(&f->lock, LOCK_META_POOL);
    lock_cond_init(&f->marked);
}

void freshness_deinit(struct freshness *f)
{
    for (size_t i = 0; i < f->text_count; i++)
        free(f->texts[i].wrapped);
    lock_cond_deinit(&f->marked);
    lock_deinit(&f->lock);
}

/* ---- what is owed ---- */

/* From here on only a barrier that is sent after now will do. */
static void need_barrier_locked(struct freshness *f)
{
    f->needed = f->sent + 1;
}

/* Slots of a session that is over are removed, and would never be seen. */
static void take_session_locked(struct freshness *f, uint64_t sid)
{
    if (f->sid == sid)
        return;
    if (f->debt_count > 0)
        need_barrier_locked(f);
    f->debt_count = 0;
    f->sid = sid;
}

static struct fresh_debt *find_debt_locked(struct freshness *f, int32_t lane)
{
    for (size_t i = 0; i < f->debt_count; i++)
        if (f->debts[i].lane == lane)
            return &f->debts[i];
    return NULL;
}

void freshness_answered(struct freshness *f, uint64_t sid, int32_t lane, int64_t op)
{
    if (f->level == FRESH_EVENTUAL)
        return;
    LOCK_SCOPE(&f->lock);
    /* A late answer of the session before: its rows may be gone already. */
    if (sid < f->sid) {
        need_barrier_locked(f);
        return;
    }
    take_session_locked(f, sid);
    struct fresh_debt *debt = find_debt_locked(f, lane);
    if (debt) {
        debt->op = op;
    } else if (f->debt_count < FRESH_LANES) {
        f->debts[f->debt_count++] = (struct fresh_debt){lane, op};
    } else {
        f->debt_count = 0;
        need_barrier_locked(f);
    }
}

void freshness_asked(struct freshness *f)
{
    LOCK_SCOPE(&f->lock);
    need_barrier_locked(f);
}

void freshness_restart(struct freshness *f)
{
    LOCK_SCOPE(&f->lock);
    f->debt_count = 0;
    f->value = f->shown = 0;
    need_barrier_locked(f);
}

bool freshness_owes(struct freshness *f)
{
    if (f->level != FRESH_SESSION)
        return f->level == FRESH_STRICT;
    LOCK_SCOPE(&f->lock);
    return f->debt_count > 0 || f->done < f->needed || f->shown < f->value;
}

/* ---- being behind ---- */

bool freshness_is_behind(struct freshness *f)
{
    LOCK_SCOPE(&f->lock);
    const uint64_t now = clock_ms();
    if (!f->is_behind)
        return false;
    if (now < f->look_ms)
        return true;
    f->look_ms = now + LOOK_MS; /* this one looks, the others go on as before */
    return false;
}

void freshness_fell_behind(struct freshness *f)
{
    LOCK_SCOPE(&f->lock);
    f->is_behind = true;
    f->look_ms = clock_ms() + LOOK_MS;
    metric_set(&behind, 1);
}

/* ---- barriers ---- */

static enum rc send_barrier(struct meta *meta, const char *mark, int64_t *value, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_text(mark)};
    metric_add(&barriers, 1);
    if (retry_at_primary(meta, CALL("SELECT * FROM tarn_1.barrier($1)", params), &answer, e))
        return err_note(e, "could not make a barrier");
    *value = pg_rows(answer) == 1 ? pg_get_int8(answer, 0, pg_column(answer, "value")) : 0;
    return *value > 0 ? RC_OK : err_fail(e, RC_CORRUPT, "a barrier was answered with nothing");
}

/* Make the next barrier. The lock is dropped while it is on its way. */
static enum rc mark_locked(struct freshness *f, struct meta *meta, struct err *e)
{
    const uint64_t number = ++f->sent;
    int64_t value = 0;
    f->is_marking = true;
    lock_drop(&f->lock);
    enum rc rc = send_barrier(meta, f->mark, &value, e);
    lock_take(&f->lock);
    f->is_marking = false;
    if (!rc) {
        f->done = number;
        f->shown = value < f->shown ? 0 : f->shown; /* a primary that has lost some */
        f->value = value;
    }
    lock_broadcast(&f->marked);
    return rc;
}

/* Have a barrier of at least that number. */
static enum rc await_barrier_locked(struct freshness *f, struct meta *meta, uint64_t number,
                                    uint64_t deadline_ms, struct err *e)
{
    while (f->done < number) {
        if (!f->is_marking) {
            if (mark_locked(f, meta, e))
                return e->code;
        } else if (!lock_wait(&f->marked, &f->lock, deadline_ms)) {
            return err_fail(e, RC_UNAVAILABLE, "the primary did not answer a barrier in time");
        }
    }
    return RC_OK;
}

/* ---- one read ---- */

enum rc freshness_want(struct freshness *f, struct meta *meta, uint64_t deadline_ms,
                       struct fresh_want *out, struct err *e)
{
    LOCK_SCOPE(&f->lock);
    out->sid = f->sid;
    out->count = f->debt_count;
    for (size_t i = 0; i < f->debt_count; i++) {
        out->lanes[i] = f->debts[i].lane;
        out->ops[i] = f->debts[i].op;
    }
    const uint64_t number = f->level == FRESH_STRICT ? f->sent + 1 : f->needed;
    if (await_barrier_locked(f, meta, number, deadline_ms, e))
        return e->code;
    out->mark_value = f->level == FRESH_STRICT || f->shown < f->value ? f->value : 0;
    return RC_OK;
}

void freshness_prepare(struct freshness *f, struct meta *meta)
{
    struct err e = ERR_INIT; /* then whoever reads next tries */
    LOCK_SCOPE(&f->lock);
    if (f->level == FRESH_SESSION && f->done < f->needed && !f->is_marking)
        (void)!mark_locked(f, meta, &e);
}

void freshness_shown(struct freshness *f, const struct fresh_want *want)
{
    LOCK_SCOPE(&f->lock);
    if (f->shown < want->mark_value)
        f->shown = want->mark_value;
    for (size_t i = 0; i < want->count && f->sid == want->sid; i++) {
        struct fresh_debt *debt = find_debt_locked(f, (int32_t)want->lanes[i]);
        if (debt && debt->op <= want->ops[i])
            *debt = f->debts[--f->debt_count];
    }
    f->is_behind = false;
    metric_set(&behind, 0);
}

/* ---- the text ---- */

/*
 * The proof comes first, and the call is not made without it. A call that answers no row leaves one
 * that says so: tarn_row is NULL in it.
 */
static char *compose(const char *sql, int count)
{
    char text[TEXT_BYTES];
    const int n = count;
    const int size =
        snprintf(text, sizeof(text),
                 "SELECT tarn_h.tarn_here, tarn_r.*"
                 " FROM tarn_1.is_here($%d,$%d,$%d,$%d,$%d) AS tarn_h (tarn_here)"
                 " LEFT JOIN LATERAL (SELECT true AS tarn_row, tarn_x.* FROM (%s) AS tarn_x"
                 " WHERE tarn_h.tarn_here) AS tarn_r ON true",
                 n + 1, n + 2, n + 3, n + 4, n + 5, sql);
    return size < (int)sizeof(text) ? strdup(text) : NULL;
}

enum rc freshness_wrap(struct freshness *f, const char *sql, int count, const char **out,
                       struct err *e)
{
    LOCK_SCOPE(&f->lock);
    for (size_t i = 0; i < f->text_count; i++)
        if (f->texts[i].sql == sql) {
            *out = f->texts[i].wrapped;
            return RC_OK;
        }
    if (f->text_count == FRESH_TEXTS)
        return err_fail(e, RC_NO_SPACE, "more than %d different reads", FRESH_TEXTS);
    char *wrapped = compose(sql, count);
    if (!wrapped)
        return err_fail(e, RC_NO_SPACE, "no memory for a read of %zu bytes", strlen(sql));
    f->texts[f->text_count++] = (struct fresh_text){sql, wrapped};
    *out = wrapped;
    return RC_OK;
}
