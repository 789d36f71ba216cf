#include "fs/meta/usage.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/meta/handle.h"
#include "fs/meta/retry.h"

/* Directories in one transaction, as stock clients do. */
#define BATCH_DIRS_MAX 1000
/* The array of a batch: 2 + 4 × 1000 numbers of 12 bytes, or as many owners. */
#define BATCH_BYTES_MAX (1 << 20)

enum rc usage_init(struct usage *usage, struct err *e)
{
    *usage = (struct usage){.space = 0};
    if (map64_open(&usage->dirs, e))
        return e->code;
    if (map64_open(&usage->owners, e)) {
        map64_close(&usage->dirs);
        return e->code;
    }
    lock_init(&usage->lock, LOCK_VFS_USAGE);
    return RC_OK;
}

static bool free_sum(uint64_t key, void *value, void *ctx)
{
    (void)key;
    (void)ctx;
    free(value);
    return true;
}

static void batch_deinit(struct usage_batch *batch)
{
    free(batch->dirs);
    free(batch->owners);
    *batch = (struct usage_batch){.space = 0};
}

void usage_deinit(struct usage *usage)
{
    if (!usage->dirs)
        return;
    map64_each(usage->dirs, free_sum, NULL);
    map64_each(usage->owners, free_sum, NULL);
    map64_close(&usage->dirs);
    map64_close(&usage->owners);
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

static void add_owner_locked(struct usage *usage, const int64_t *deltas,
                             const struct node_attr *owner)
{
    if (!deltas[0] && !deltas[1])
        return;
    const struct usage_sum sum = {
        .key = (uint64_t)owner->uid << 32 | owner->gid, .space = deltas[0], .inodes = deltas[1]};
    add_sum_locked(usage->owners, &sum);
}

void usage_add(struct usage *usage, const int64_t *deltas, size_t count,
               const struct node_attr *owner)
{
    if (count < 2)
        return;
    LOCK_SCOPE(&usage->lock);
    usage->space += deltas[0];
    usage->inodes += deltas[1];
    for (size_t i = 2; i + 4 <= count; i += 4)
        add_sum_locked(usage->dirs, &(struct usage_sum){.key = (uint64_t)deltas[i],
                                                        .length = deltas[i + 1],
                                                        .space = deltas[i + 2],
                                                        .inodes = deltas[i + 3]});
    if (owner)
        add_owner_locked(usage, deltas, owner);
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
    return !batch->space && !batch->inodes && !batch->dir_count && !batch->owner_count;
}

/* Fill an empty batch from what is pending. Owners travel with the volume's own part. */
static enum rc fill_batch_locked(struct usage *usage, struct err *e)
{
    struct usage_batch *batch = &usage->batch;
    if (!batch_is_empty(batch))
        return RC_OK;
    if (move_lowest_locked(usage->dirs, BATCH_DIRS_MAX, &batch->dirs, &batch->dir_count, e) ||
        move_lowest_locked(usage->owners, BATCH_DIRS_MAX, &batch->owners, &batch->owner_count, e))
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
    for (size_t i = 0; i < batch->dir_count; i++)
        add_sum_locked(usage->dirs, &batch->dirs[i]);
    for (size_t i = 0; i < batch->owner_count; i++)
        add_sum_locked(usage->owners, &batch->owners[i]);
    batch_deinit(batch);
}

static enum rc dirs_param(const struct usage_batch *batch, struct buf *scratch,
                          struct pg_param *out, struct err *e)
{
    size_t n = 2 + 4 * batch->dir_count;
    auto_free int64_t *values = calloc(n, sizeof(*values));
    if (!values)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    values[0] = batch->space;
    values[1] = batch->inodes;
    for (size_t i = 0; i < batch->dir_count; i++) {
        const struct usage_sum *sum = &batch->dirs[i];
        int64_t *at = values + 2 + 4 * i;
        at[0] = (int64_t)sum->key;
        at[1] = sum->length;
        at[2] = sum->space;
        at[3] = sum->inodes;
    }
    return pg_int8_array(scratch, values, n, out, e);
}

static enum rc owners_param(const struct usage_batch *batch, struct buf *scratch,
                            struct pg_param *out, struct err *e)
{
    size_t n = 4 * batch->owner_count;
    auto_free int64_t *values = calloc(n ? n : 1, sizeof(*values));
    if (!values)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < batch->owner_count; i++) {
        const struct usage_sum *sum = &batch->owners[i];
        int64_t *at = values + 4 * i;
        at[0] = (int64_t)(sum->key >> 32);
        at[1] = (int64_t)(sum->key & UINT32_MAX);
        at[2] = sum->space;
        at[3] = sum->inodes;
    }
    enum rc rc = pg_int8_array(scratch, values, n, out, e);
    if (!rc && n == 0)
        *out = pg_null(out->oid);
    return rc;
}

static enum rc send_batch(struct usage *usage, struct meta *meta, struct err *e)
{
    auto_buf struct buf dirs, owners;
    buf_init(&dirs, BATCH_BYTES_MAX);
    buf_init(&owners, BATCH_BYTES_MAX);
    struct pg_param params[] = {CALL_LANE, {0}, {0}};
    if (dirs_param(&usage->batch, &dirs, &params[3], e) ||
        owners_param(&usage->batch, &owners, &params[4], e))
        return e->code;

    auto_result struct pg_result *answer = NULL;
    struct call *call = CALL("SELECT * FROM tarn_1.usage_flush($1,$2,$3,$4,$5)", params);
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
