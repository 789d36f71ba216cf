#include "fs/meta/usage.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/meta/handle.h"
#include "fs/meta/retry.h"

/* Keys of one kind in one transaction, as stock clients do with directories. */
#define BATCH_KEYS_MAX 1000
/* The array of a batch: 2 + 4 numbers of 12 bytes for each key of each kind. */
#define BATCH_BYTES_MAX (1 << 20)

static bool free_sum(uint64_t key, void *value, void *ctx)
{
    (void)key;
    (void)ctx;
    free(value);
    return true;
}

static void close_maps(struct usage *usage)
{
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        if (usage->pending[kind]) {
            map64_each(usage->pending[kind], free_sum, NULL);
            map64_close(&usage->pending[kind]);
        }
}

enum rc usage_init(struct usage *usage, struct err *e)
{
    *usage = (struct usage){.space = 0};
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        if (map64_open(&usage->pending[kind], e)) {
            close_maps(usage);
            return e->code;
        }
    lock_init(&usage->lock, LOCK_VFS_USAGE);
    return RC_OK;
}

static void batch_deinit(struct usage_batch *batch)
{
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        free(batch->sums[kind]);
    *batch = (struct usage_batch){.space = 0};
}

void usage_deinit(struct usage *usage)
{
    if (!usage->pending[USAGE_DIR])
        return;
    close_maps(usage);
    batch_deinit(&usage->batch);
    lock_deinit(&usage->lock);
}

/* Add a sum to its key. Without memory the count is lost, and said so: fsck repairs counts. */
static void add_sum_locked(struct map64 *map, const struct usage_sum *sum)
{
    struct usage_sum *into = map64_get(map, sum->key);
    if (into) {
        into->length += sum->length;
        into->space += sum->space;
        into->inodes += sum->inodes;
        return;
    }
    struct err e = ERR_INIT;
    struct usage_sum *fresh = malloc(sizeof(*fresh));
    if (fresh && map64_put(map, sum->key, fresh, &e) == RC_OK) {
        *fresh = *sum;
        return;
    }
    free(fresh);
    log_warn("no memory to count the usage of key %llu", (unsigned long long)sum->key);
}

/* One quadruple. What an unknown mark means is not ours to guess. */
static void add_quadruple_locked(struct usage *usage, const int64_t *q)
{
    if (q[0] > 0)
        add_sum_locked(usage->pending[USAGE_DIR],
                       &(struct usage_sum){
                           .key = (uint64_t)q[0], .length = q[1], .space = q[2], .inodes = q[3]});
    else if (q[0] < 0 && q[0] > -USAGE_KINDS)
        add_sum_locked(usage->pending[-q[0]],
                       &(struct usage_sum){.key = (uint64_t)q[1], .space = q[2], .inodes = q[3]});
}

void usage_add(struct usage *usage, const int64_t *deltas, size_t count)
{
    if (count < 2)
        return;
    LOCK_SCOPE(&usage->lock);
    usage->space += deltas[0];
    usage->inodes += deltas[1];
    for (size_t i = 2; i + 4 <= count; i += 4)
        add_quadruple_locked(usage, deltas + i);
}

void usage_forget(struct usage *usage, uint64_t dir)
{
    LOCK_SCOPE(&usage->lock);
    free(map64_remove(usage->pending[USAGE_DIR], dir));
}

void usage_pending(struct usage *usage, int64_t *space, int64_t *inodes)
{
    LOCK_SCOPE(&usage->lock);
    *space = usage->space + usage->batch.space;
    *inodes = usage->inodes + usage->batch.inodes;
}

/* The sums of a map are gathered here, then sorted. */
struct gathering {
    struct usage_sum *sums;
    size_t count;
};

static bool gather(uint64_t key, void *value, void *ctx)
{
    struct gathering *to = ctx;
    (void)key;
    to->sums[to->count++] = *(struct usage_sum *)value;
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct usage_sum *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* Move the sums with the lowest keys, at most max, out of the map. */
static enum rc move_lowest_locked(struct map64 *map, size_t max, struct usage_sum **out,
                                  size_t *count, struct err *e)
{
    *count = 0;
    if (map64_count(map) == 0)
        return RC_OK;
    struct gathering all = {.sums = calloc(map64_count(map), sizeof(*all.sums))};
    if (!all.sums)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    map64_each(map, gather, &all);
    qsort(all.sums, all.count, sizeof(*all.sums), by_key);
    *count = all.count < max ? all.count : max;
    for (size_t i = 0; i < *count; i++)
        free(map64_remove(map, all.sums[i].key));
    *out = all.sums;
    return RC_OK;
}

static bool batch_is_empty(const struct usage_batch *batch)
{
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        if (batch->count[kind])
            return false;
    return !batch->space && !batch->inodes;
}

/* Fill an empty batch from what is pending. */
static enum rc fill_batch_locked(struct usage *usage, struct err *e)
{
    struct usage_batch *batch = &usage->batch;
    if (!batch_is_empty(batch))
        return RC_OK;
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        if (move_lowest_locked(usage->pending[kind], BATCH_KEYS_MAX, &batch->sums[kind],
                               &batch->count[kind], e))
            return e->code;
    batch->space = usage->space;
    batch->inodes = usage->inodes;
    usage->space = usage->inodes = 0;
    return RC_OK;
}

/* Only one thread flushes; the others leave it to him. */
static bool begin_flush(struct usage *usage)
{
    LOCK_SCOPE(&usage->lock);
    if (usage->is_flushing)
        return false;
    usage->is_flushing = true;
    return true;
}

static void end_flush(struct usage *usage)
{
    LOCK_SCOPE(&usage->lock);
    usage->is_flushing = false;
}

static void drop_batch(struct usage *usage)
{
    LOCK_SCOPE(&usage->lock);
    batch_deinit(&usage->batch);
}

/* The batch certainly did not arrive: put it back, so that it merges with what came since. */
static void return_batch(struct usage *usage)
{
    LOCK_SCOPE(&usage->lock);
    struct usage_batch *batch = &usage->batch;
    usage->space += batch->space;
    usage->inodes += batch->inodes;
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        for (size_t i = 0; i < batch->count[kind]; i++)
            add_sum_locked(usage->pending[kind], &batch->sums[kind][i]);
    batch_deinit(batch);
}

static void put_quadruple(enum usage_kind kind, const struct usage_sum *sum, int64_t *at)
{
    at[0] = kind == USAGE_DIR ? (int64_t)sum->key : -(int64_t)kind;
    at[1] = kind == USAGE_DIR ? sum->length : (int64_t)sum->key;
    at[2] = sum->space;
    at[3] = sum->inodes;
}

static enum rc batch_param(const struct usage_batch *batch, struct buf *scratch,
                           struct pg_param *out, struct err *e)
{
    size_t keys = 0;
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        keys += batch->count[kind];
    auto_free int64_t *values = calloc(2 + 4 * keys, sizeof(*values));
    if (!values)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    values[0] = batch->space;
    values[1] = batch->inodes;
    int64_t *at = values + 2;
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        for (size_t i = 0; i < batch->count[kind]; i++, at += 4)
            put_quadruple((enum usage_kind)kind, &batch->sums[kind][i], at);
    return pg_int8_array(scratch, values, 2 + 4 * keys, out, e);
}

static enum rc send_batch(struct usage *usage, struct meta *meta, struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, BATCH_BYTES_MAX);
    struct pg_param params[] = {CALL_LANE, {0}};
    if (batch_param(&usage->batch, &scratch, &params[3], e))
        return e->code;

    auto_result struct pg_result *answer = NULL;
    struct call *call = CALL_LONG("SELECT * FROM tarn_1.usage_flush($1,$2,$3,$4)", params);
    if (retry_in_lane(meta, &usage->lane, call, &answer, e))
        return e->code;
    int refusal = pg_get_int4(answer, 0, pg_column(answer, "err"));
    return refusal ? err_refused(e, refusal, "the accounting was refused") : RC_OK;
}

/* What becomes of a batch that could not be flushed. */
static enum rc after_failure(struct usage *usage, struct meta *meta, enum rc rc)
{
    if (!usage->lane.is_uncertain) {
        return_batch(usage);
        return rc;
    }
    if (rc == RC_STALE || usage->lane.sid != lane_session_id(&meta->session)) {
        log_warn(
            "accounting of %lld bytes and %lld inodes is lost with session %llu; fsck repairs it",
            (long long)usage->batch.space, (long long)usage->batch.inodes,
            (unsigned long long)usage->lane.sid);
        drop_batch(usage);
        usage->lane.is_uncertain = false;
    }
    return rc;
}

static enum rc flush_all(struct usage *usage, struct meta *meta, struct err *e)
{
    for (;;) {
        lock_take(&usage->lock);
        enum rc rc = fill_batch_locked(usage, e);
        bool is_empty = batch_is_empty(&usage->batch);
        lock_drop(&usage->lock);
        if (rc || is_empty)
            return rc;
        rc = send_batch(usage, meta, e);
        if (rc)
            return after_failure(usage, meta, rc);
        drop_batch(usage);
    }
}

enum rc usage_flush(struct usage *usage, struct meta *meta, struct err *e)
{
    if (!begin_flush(usage))
        return RC_OK;
    enum rc rc = flush_all(usage, meta, e);
    end_flush(usage);
    return rc;
}
