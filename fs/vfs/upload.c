#include "fs/vfs/upload.h"

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "fs/vfs/commit.h"

enum { UPLOAD_PATIENCE_MS = 120000 };

METRIC_DEFINE(metric_uploads, METRIC_HISTOGRAM, "tarn_upload_seconds", NULL,
              "time to store one block")
METRIC_DEFINE(metric_upload_bytes, METRIC_COUNTER, "tarn_upload_bytes_total", NULL,
              "bytes of blocks stored, before compression")
METRIC_DEFINE(metric_upload_failures, METRIC_COUNTER, "tarn_upload_failures_total", NULL,
              "uploads that failed after all retries of the store")

static void keep_trouble_locked(struct inode *in, const struct err *e)
{
    if (!in->writer.trouble)
        in->writer.trouble = malloc(sizeof(*e));
    if (in->writer.trouble)
        *in->writer.trouble = *e;
}

/*
 * Tell the slice how it went. After the lock is dropped the block, its slice and its inode may be
 * gone: what is still needed has been taken out before.
 */
static uint8_t *report(struct write_block *block, enum rc outcome, const struct err *e)
{
    struct write_slice *s = block->slice;
    struct inode *in = s->inode;
    uint8_t *data = NULL;

    LOCK_SCOPE(&in->lock);
    s->queued--;
    in->writer.uploads--;
    if (outcome) {
        block->state = BLOCK_FAILED;
        s->failed++;
        s->failure = block->attempt > s->failure ? block->attempt : s->failure;
        keep_trouble_locked(in, e);
    } else {
        block->state = BLOCK_STORED;
        s->stored++;
        data = take_pointer(&block->data);
        block->capacity = 0;
    }
    if (in->writer.lost)
        commit_drop_lost_locked(in);
    lock_broadcast(&in->changed);
    return data;
}

static void run(void *arg)
{
    struct write_block *block = arg;
    struct vfs *vfs = block->slice->inode->vfs;
    const struct block_id id = {block->slice->id, block->indx, block->used};
    const uint32_t capacity = block->capacity;
    const uint64_t began_us = clock_us();
    struct err e = ERR_INIT;

    volume_sum_block(vfs->volume, block->data, id.size, block->sums);
    enum rc rc =
        volume_put_block(vfs->volume, id, block->data, clock_deadline(UPLOAD_PATIENCE_MS), &e);
    metric_observe_us(&metric_uploads, clock_us() - began_us);
    metric_add(rc ? &metric_upload_failures : &metric_upload_bytes, rc ? 1 : (int64_t)id.size);
    uint8_t *data = report(block, rc, &e);
    if (data) {
        block_cache_keep(vfs->cache, id, data);
        memory_give(vfs->memory, data, capacity);
    }
    atomic_fetch_sub(&vfs->queued_uploads, 1);
}

void upload_count_locked(struct inode *in, const struct write_batch *batch)
{
    for (struct write_block *block = batch->first; block; block = block->next) {
        in->writer.uploads++;
        block->attempt = ++in->writer.attempts;
        atomic_fetch_add(&in->vfs->queued_uploads, 1);
    }
}

void upload_batch(struct vfs *vfs, struct write_batch *batch)
{
    struct write_block *block = batch->first;
    while (block) {
        /* Read the link first: a block may be gone as soon as it is submitted. */
        struct write_block *next = block->next;
        struct err busy = ERR_INIT;
        if (pool_submit(vfs->uploads, run, block, &busy))
            run(block);
        block = next;
    }
    *batch = WRITE_BATCH_INIT(*batch);
}
