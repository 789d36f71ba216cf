#include "syncer/sweep.h"

#include <inttypes.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"

#define BLOCKS_PREFIX "chunks/"
#define YOUNG_S       3600
#define PAGE          1000

METRIC_DEFINE(
    swept_slices, METRIC_COUNTER, "tarn_sync_strays_total", NULL,
    "Slices found in this site's bucket that no metadata knows, and ordered to be removed")

struct walk {
    struct volume *volume;
    struct queue *queue;
    const atomic_bool *is_stopping;
    int64_t now_s;
    bool has_young;
    int64_t strays;

    /* Slices to ask about; the blocks of one come one after another. */
    int64_t slices[PAGE];
    int32_t sizes[PAGE];
    size_t count;
    struct err e;
};

static enum rc ask(struct walk *w)
{
    int64_t strays = 0;
    if (w->count == 0 || queue_strays(w->queue, w->slices, w->sizes, w->count, &strays, &w->e))
        return w->e.code;
    w->strays += strays;
    metric_add(&swept_slices, strays);
    w->count = 0;
    return RC_OK;
}

/* A slice is as long as its last block ends. */
static enum rc note(struct walk *w, struct block_id block)
{
    const int64_t slice = (int64_t)block.slice;
    const int32_t end =
        (int32_t)((uint64_t)block.indx * volume_block_bytes(w->volume) + block.size);
    if (w->count > 0 && w->slices[w->count - 1] == slice) {
        if (w->sizes[w->count - 1] < end)
            w->sizes[w->count - 1] = end;
        return RC_OK;
    }
    if (w->count == PAGE && ask(w))
        return w->e.code;
    w->slices[w->count] = slice;
    w->sizes[w->count++] = end;
    return RC_OK;
}

static bool on_object(const struct store_object *object, void *arg)
{
    struct walk *w = arg;
    struct block_id block;
    struct err ignored = ERR_INIT;
    if (*w->is_stopping) {
        err_fail(&w->e, RC_CANCELLED, "the syncer is stopping");
        return false;
    }
    if (block_key_parse(object->key, &block, &ignored))
        return true; /* not a block, and not ours to judge */
    if (object->mtime_s == 0 || object->mtime_s > w->now_s - YOUNG_S) {
        w->has_young = true;
        return true;
    }
    return note(w, block) == RC_OK;
}

enum rc sweep(struct volume *volume, struct queue *queue, const atomic_bool *is_stopping,
              struct err *e)
{
    struct walk w = {.volume = volume,
                     .queue = queue,
                     .is_stopping = is_stopping,
                     .now_s = clock_wall().tv_sec,
                     .e = ERR_INIT};
    bool is_wanted = false;
    if (queue_sweep_wanted(queue, &is_wanted, e) || !is_wanted)
        return e->code;
    if (store_list(volume_local(volume), BLOCKS_PREFIX, "", on_object, &w, CLOCK_FOREVER_MS, e))
        return err_note(e, "could not list the blocks that are here");
    if (w.e.code || ask(&w)) {
        *e = w.e;
        return err_note(e, "could not look for blocks that nobody knows");
    }
    if (w.strays > 0)
        log_info("%" PRId64 " slices are here that ended before this mirror joined; their blocks "
                 "are removed",
                 w.strays);
    return w.has_young ? RC_OK : queue_sweep_done(queue, e);
}
