#include "fs/upkeep/delete.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/meta/upkeep.h"

enum {
    CHUNKS_AT_ONCE = 16,
    SLICES_AT_ONCE = 100,
    /* Nobody else touches a batch for so long; it is much more than a batch takes. */
    LEASE_S = 900,
    SLICE_PATIENCE_MS = 30000,
    PAUSE_S = 20, /* after a failure */
};

METRIC_DEFINE(metric_slices, METRIC_COUNTER, "tarn_deleted_slices_total", NULL,
              "slices whose objects were removed for good")
METRIC_DEFINE(metric_bytes, METRIC_COUNTER, "tarn_deleted_bytes_total", NULL,
              "bytes of those slices, before compression")
METRIC_DEFINE(metric_failures, METRIC_COUNTER, "tarn_delete_failures_total", NULL,
              "slices whose objects could not be removed yet")

/* Remove every object of a slice of size bytes. RC_OK: none of them is there any more. */
static enum rc delete_objects(struct volume *volume, uint64_t slice, uint32_t size,
                              uint64_t deadline_ms, struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(volume);
    const uint32_t count = block_count(size, block_bytes);
    for (uint32_t i = 0; i < count; i++) {
        const struct block_id block = {slice, i, block_size(size, block_bytes, i)};
        if (volume_remove_block(volume, block, deadline_ms, e))
            return err_note(e, "could not remove slice %llu", (unsigned long long)slice);
    }
    return RC_OK;
}

enum rc delete_file(struct volume *volume, ino_num ino, bool *is_done, struct err *e)
{
    uint32_t chunks;
    do {
        if (meta_chunks_drop(volume_meta(volume), ino, CHUNKS_AT_ONCE, &chunks, is_done, e))
            return err_note(e, "could not delete the data of inode %llu", (unsigned long long)ino);
    } while (chunks > 0 && !*is_done);
    return RC_OK;
}

/* ---- a batch of slices ---- */

struct batch {
    struct volume *volume;
    struct meta_doomed *slices;
    size_t count;
    atomic_size_t next; /* slice that nobody has begun */
    bool *is_gone;      /* one for each slice, of whoever took it */

    struct lock lock;
    struct lock_cond ended;
    unsigned workers; /* shared: not ended yet */
    struct err first; /* shared: the first failure */
};

static void note_failure(struct batch *b, const struct err *e)
{
    metric_add(&metric_failures, 1);
    LOCK_SCOPE(&b->lock);
    if (b->first.code == RC_OK)
        b->first = *e;
}

static void remove_slices(struct batch *b)
{
    for (size_t i; (i = atomic_fetch_add(&b->next, 1)) < b->count;) {
        struct err e = ERR_INIT;
        const struct meta_doomed *d = &b->slices[i];
        if (delete_objects(b->volume, d->slice, d->size, clock_deadline(SLICE_PATIENCE_MS), &e))
            note_failure(b, &e);
        else
            b->is_gone[i] = true;
    }
}

static void run_worker(void *arg)
{
    struct batch *b = arg;
    remove_slices(b);
    LOCK_SCOPE(&b->lock);
    b->workers--;
    lock_signal(&b->ended);
}

/* Remove on this thread and on as many of the pool as it has to spare. */
static void remove_together(struct batch *b, struct pool *pool)
{
    struct err busy = ERR_INIT;
    for (size_t i = 1; i < b->count; i++) {
        lock_take(&b->lock);
        b->workers++;
        lock_drop(&b->lock);
        if (pool_submit(pool, run_worker, b, &busy) == RC_OK)
            continue;
        lock_take(&b->lock);
        b->workers--;
        lock_drop(&b->lock);
        break;
    }
    remove_slices(b);
    lock_take(&b->lock);
    while (b->workers)
        (void)lock_wait(&b->ended, &b->lock, CLOCK_FOREVER_MS);
    lock_drop(&b->lock);
}

/* Give back the slices of which is_gone is not set, for another round. */
static void give_back(const struct batch *b)
{
    struct err e = ERR_INIT;
    auto_free int64_t *ids = calloc(b->count, sizeof(*ids));
    size_t left = 0;
    for (size_t i = 0; ids && i < b->count; i++)
        if (!b->is_gone[i])
            ids[left++] = (int64_t)b->slices[i].slice;
    /* Forgotten, they are free again when the lease is over. */
    if (left && meta_doomed_left(volume_meta(b->volume), ids, left, PAUSE_S, &e))
        log_err(LOG_LEVEL_DEBUG, &e, "could not give doomed slices back");
}

/* Tell the metadata what is gone. */
static enum rc tell(const struct batch *b, struct delete_tally *tally, struct err *e)
{
    auto_free int64_t *ids = calloc(b->count, sizeof(*ids));
    size_t gone = 0;
    uint64_t bytes = 0, removed;
    if (!ids)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < b->count; i++) {
        if (!b->is_gone[i])
            continue;
        ids[gone++] = (int64_t)b->slices[i].slice;
        bytes += b->slices[i].size;
    }
    tally->failed += b->count - gone;
    if (gone < b->count)
        give_back(b);
    if (gone == 0)
        return RC_OK;
    if (meta_doomed_done(volume_meta(b->volume), ids, gone, &removed, e))
        return err_note(e, "could not remove the rows of deleted slices");
    tally->slices += gone;
    tally->bytes += bytes;
    metric_add(&metric_slices, (int64_t)gone);
    metric_add(&metric_bytes, (int64_t)bytes);
    return RC_OK;
}

static enum rc remove_batch(struct batch *b, struct pool *pool, struct delete_tally *tally,
                            struct err *e)
{
    lock_init(&b->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&b->ended);
    remove_together(b, pool);
    lock_cond_deinit(&b->ended);
    lock_deinit(&b->lock);

    const uint64_t before = tally->slices;
    if (tell(b, tally, e))
        return e->code;
    if (b->first.code && tally->slices == before) {
        *e = b->first;
        return e->code;
    }
    if (b->first.code)
        log_err(LOG_LEVEL_WARN, &b->first, "some objects could not be removed yet");
    return RC_OK;
}

enum rc delete_doomed(struct volume *volume, struct pool *pool, struct delete_tally *tally,
                      bool *has_more, struct err *e)
{
    struct batch b = {.volume = volume, .first = ERR_INIT};
    auto_free struct meta_doomed *slices = NULL;
    *has_more = false;
    if (meta_doomed_take(volume_meta(volume), SLICES_AT_ONCE, LEASE_S, &slices, &b.count, e) ||
        b.count == 0)
        return e->code;
    auto_free bool *is_gone = calloc(b.count, sizeof(*is_gone));
    if (!is_gone)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    b.slices = slices;
    b.is_gone = is_gone;
    if (volume_vouch(volume, e)) {
        give_back(&b);
        return err_note(e, "nothing is deleted");
    }
    *has_more = true;
    return remove_batch(&b, pool, tally, e);
}
