#include "syncer/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/wire.h"
#include "fs/meta/pg.h"

#define CALL_MS        30000
#define BACKFILL_PAGE  1000
#define BACKFILL_LIMIT 10000
#define MAX_DELAY_S    300
/* 64 MiB under one sum for each 64 KiB, the smallest block. */
#define MAX_SUMS 1024

struct queue {
    char *url;
    struct pg *pg; /* NULL while not connected */
};

void order_deinit(struct order *order)
{
    free(order->sums);
    order->sums = NULL;
}

enum rc queue_open(struct queue **out, const char *url, struct err *e)
{
    struct queue *q = calloc(1, sizeof(*q));
    if (q)
        q->url = strdup(url);
    if (!q || !q->url) {
        free(q);
        return err_fail(e, RC_NO_SPACE, "could not allocate a queue");
    }
    *out = q;
    return RC_OK;
}

void queue_close(struct queue **queue)
{
    struct queue *q = *queue;
    if (!q)
        return;
    pg_close(&q->pg);
    free(q->url);
    free(q);
    *queue = NULL;
}

static enum rc connect_queue(struct queue *q, struct err *e)
{
    if (q->pg && pg_is_open(q->pg))
        return RC_OK;
    pg_close(&q->pg);
    const struct pg_options options = {.url = q->url, .application = "tarn-syncer"};
    return pg_open(&q->pg, &options, clock_deadline(CALL_MS), e);
}

/*
 * One call. A lost answer is as good as none: each verb is safe to repeat, and a lease that nobody
 * knows of runs out.
 */
static enum rc call(struct queue *q, const char *sql, const struct pg_param *params, int count,
                    struct pg_result **out, struct err *e)
{
    if (connect_queue(q, e))
        return err_note(e, "could not reach the queue");
    enum rc rc = pg_call(q->pg, sql, params, count, clock_deadline(CALL_MS), out, e);
    if (rc == RC_UNCERTAIN || rc == RC_TIMEOUT || rc == RC_STALE)
        return err_fail(e, RC_UNAVAILABLE, "could not reach the queue: its answer was lost");
    if (rc != RC_NOT_FOUND)
        return rc;
    err_fail(e, RC_INVALID, "this database is no site of Tarn; `tarn mirror join` makes a mirror");
    return err_exits(e, EXIT_NOT_FORMATTED);
}

static enum rc decode_sums(struct bytes packed, struct order *out, struct err *e)
{
    if (packed.size == 0)
        return RC_OK;
    const uint32_t count = (uint32_t)(packed.size / 4);
    if (packed.size % 4 || count > MAX_SUMS)
        return err_fail(e, RC_CORRUPT, "the sums of slice %llu are malformed",
                        (unsigned long long)out->slice);
    out->sums = calloc(count, sizeof(*out->sums));
    if (!out->sums)
        return err_fail(e, RC_NO_SPACE, "could not allocate sums");
    for (uint32_t i = 0; i < count; i++)
        out->sums[i] = wire_u32(packed.data + (size_t)4 * i);
    out->sums_count = count;
    return RC_OK;
}

enum rc queue_lease(struct queue *q, struct order *out, struct err *e)
{
    const struct pg_param params[] = {pg_int4(1), pg_int4(QUEUE_LEASE_S)};
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_lease($1, $2)", params, 2, &r, e))
        return e->code;
    if (pg_rows(r) == 0)
        return err_fail(e, RC_NOT_FOUND, "no order is due");

    const char *want = pg_get_text(r, 0, pg_column(r, "want"));
    *out = (struct order){
        .slice = (uint64_t)pg_get_int8(r, 0, pg_column(r, "slice")),
        .size = (uint32_t)pg_get_int4(r, 0, pg_column(r, "size")),
        .want = want && strcmp(want, "delete") == 0 ? ORDER_DELETE : ORDER_COPY,
        .fence = pg_get_int8(r, 0, pg_column(r, "fence")),
        .attempts = pg_get_int4(r, 0, pg_column(r, "attempts")),
        .is_referenced = pg_get_bool(r, 0, pg_column(r, "is_referenced")),
    };
    return decode_sums(pg_get_bytes(r, 0, pg_column(r, "sums")), out, e);
}

static enum rc lost(const struct order *order, struct err *e)
{
    return err_fail(e, RC_STALE, "another worker has slice %llu", (unsigned long long)order->slice);
}

enum rc queue_renew(struct queue *q, const struct order *order, struct err *e)
{
    const struct pg_param params[] = {pg_int8((int64_t)order->slice), pg_int8(order->fence),
                                      pg_int4(QUEUE_LEASE_S)};
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_renew($1, $2, $3)", params, 3, &r, e))
        return e->code;
    return pg_get_bool(r, 0, 0) ? RC_OK : lost(order, e);
}

enum rc queue_done(struct queue *q, struct order *order, struct err *e)
{
    const char *did = order->want == ORDER_DELETE ? "delete" : "copy";
    const struct pg_param params[] = {pg_int8((int64_t)order->slice), pg_int8(order->fence),
                                      pg_text(did)};
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_done($1, $2, $3)", params, 3, &r, e))
        return e->code;
    const char *answer = pg_get_text(r, 0, 0);
    if (answer && strcmp(answer, "done") == 0)
        return RC_OK;
    if (answer && strcmp(answer, "again") == 0) {
        order->want = order->want == ORDER_DELETE ? ORDER_COPY : ORDER_DELETE;
        order->is_referenced = order->want == ORDER_COPY;
        return err_fail(e, RC_EXISTS, "slice %llu is wanted otherwise by now",
                        (unsigned long long)order->slice);
    }
    return lost(order, e);
}

static int32_t delay_s(int attempts)
{
    int shift = attempts < 9 ? attempts : 9;
    int32_t delay = 1 << shift;
    return delay < MAX_DELAY_S ? delay : MAX_DELAY_S;
}

enum rc queue_fail(struct queue *q, const struct order *order, const struct err *reason,
                   struct err *e)
{
    const struct pg_param params[] = {pg_int8((int64_t)order->slice), pg_int8(order->fence),
                                      pg_text(reason->text), pg_int4(delay_s(order->attempts))};
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_fail($1, $2, $3, $4)", params, 4, &r, e))
        return e->code;
    return pg_get_bool(r, 0, 0) ? RC_OK : lost(order, e);
}

enum rc queue_left(struct queue *q, const struct order *order, struct err *e)
{
    const struct pg_param params[] = {pg_int8((int64_t)order->slice),
                                      pg_int4((int32_t)order->size)};
    auto_result struct pg_result *r = NULL;
    return call(q, "SELECT * FROM tarn_1.slice_left($1, $2)", params, 2, &r, e);
}

static enum rc call_bool(struct queue *q, const char *sql, const struct pg_param *params, int count,
                         bool *out, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (call(q, sql, params, count, &r, e))
        return e->code;
    *out = pg_get_bool(r, 0, 0);
    return RC_OK;
}

enum rc queue_backfill(struct queue *q, bool *is_more, struct err *e)
{
    const struct pg_param params[] = {pg_int4(BACKFILL_PAGE), pg_int8(BACKFILL_LIMIT)};
    return call_bool(q, "SELECT * FROM tarn_1.slice_backfill($1, $2)", params, 2, is_more, e);
}

enum rc queue_is_due(struct queue *q, bool *out, struct err *e)
{
    return call_bool(q, "SELECT * FROM tarn_1.slice_is_due()", NULL, 0, out, e);
}

enum rc queue_sweep_wanted(struct queue *q, bool *out, struct err *e)
{
    return call_bool(q, "SELECT * FROM tarn_1.sweep_wanted()", NULL, 0, out, e);
}

enum rc queue_strays(struct queue *q, const int64_t *slices, const int32_t *sizes, size_t count,
                     int64_t *strays, struct err *e)
{
    auto_buf struct buf scratch_slices, scratch_sizes;
    buf_init(&scratch_slices, 64 + count * 16);
    buf_init(&scratch_sizes, 64 + count * 16);
    struct pg_param params[2];
    auto_result struct pg_result *r = NULL;
    if (pg_int8_array(&scratch_slices, slices, count, &params[0], e) ||
        pg_int4_array(&scratch_sizes, sizes, count, &params[1], e) ||
        call(q, "SELECT * FROM tarn_1.slice_strays($1, $2)", params, 2, &r, e))
        return e->code;
    *strays = pg_get_int8(r, 0, 0);
    return RC_OK;
}

enum rc queue_sweep_done(struct queue *q, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    return call(q, "SELECT tarn_1.sweep_done()", NULL, 0, &r, e);
}

static double float8_of(struct bytes b)
{
    double value = 0;
    uint64_t bits = b.size == sizeof(bits) ? wire_u64(b.data) : 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

enum rc queue_check_mirror(struct queue *q, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.volume()", NULL, 0, &r, e))
        return e->code;
    const char *role = pg_get_text(r, 0, pg_column(r, "role"));
    if (!role || strcmp(role, "primary") != 0 || !pg_is_null(r, 0, pg_column(r, "former_bucket")))
        return RC_OK;
    err_fail(e, RC_INVALID, "this site is the primary: its blocks are where they belong");
    return err_exits(e, EXIT_NOT_READY);
}

enum rc queue_former_end(struct queue *q, bool *is_over, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.former_end()", NULL, 0, &r, e))
        return e->code;
    *is_over = pg_get_bool(r, 0, 0);
    return RC_OK;
}

enum rc queue_backlog(struct queue *q, struct backlog *out, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_backlog()", NULL, 0, &r, e))
        return e->code;
    *out = (struct backlog){
        .copies = pg_get_int8(r, 0, pg_column(r, "copies")),
        .deletes = pg_get_int8(r, 0, pg_column(r, "deletes")),
        .leased = pg_get_int8(r, 0, pg_column(r, "leased")),
        .failing = pg_get_int8(r, 0, pg_column(r, "failing")),
        .oldest_s = float8_of(pg_get_bytes(r, 0, pg_column(r, "oldest_s"))),
        .has_begun = pg_get_bool(r, 0, pg_column(r, "has_begun")),
        .backfill_done = pg_get_bool(r, 0, pg_column(r, "backfill_done")),
        .backfill_position = pg_get_int8(r, 0, pg_column(r, "backfill_position")),
        .backfill_goal = pg_get_int8(r, 0, pg_column(r, "backfill_goal")),
    };
    const char *error = pg_get_text(r, 0, pg_column(r, "last_error"));
    if (error)
        snprintf(out->last_error, sizeof(out->last_error), "%s", error);
    return RC_OK;
}

enum rc queue_failures(struct queue *q, int limit, queue_failure visit, void *arg, struct err *e)
{
    const struct pg_param params[] = {pg_int4(limit)};
    auto_result struct pg_result *r = NULL;
    if (call(q, "SELECT * FROM tarn_1.slice_failures($1)", params, 1, &r, e))
        return e->code;
    for (int i = 0; i < pg_rows(r); i++)
        visit((uint64_t)pg_get_int8(r, i, pg_column(r, "slice")),
              pg_get_text(r, i, pg_column(r, "want")), pg_get_int4(r, i, pg_column(r, "attempts")),
              pg_get_text(r, i, pg_column(r, "last_error")), arg);
    return RC_OK;
}
