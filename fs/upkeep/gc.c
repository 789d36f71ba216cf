/*
 * The listing. Its order is the order of keys, which keeps the blocks of a slice together and
 * slices of near numbers near each other, so that a batch of look-ups touches few pages of the
 * index.
 */
#include "fs/upkeep/gc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "fs/base/wire.h"
#include "fs/upkeep/gc_impl.h"

#define BLOCKS_PREFIX "chunks/"
#define HEAD_MS       60000
#define DELSLICE_SIZE 12
/* Ids of replaced slices that are kept in memory, to tell their objects from others. Beyond it they
 * count as valid, which they are for every purpose but the statistics. */
#define TRASH_MAX ((size_t)8 << 20)

struct listed {
    struct block_id block;
    uint64_t stored_bytes;
    int64_t mtime_s;
};

struct listing {
    struct gc *gc;
    struct gc_witnesses witnesses;
    struct listed batch[GC_BATCH];
    size_t count;
    struct progress *progress;
    struct err visit; /* why a visit failed */
};

static void tally(struct gc_tally *t, uint64_t bytes)
{
    t->objects++;
    t->bytes += bytes;
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

size_t gc_unique(int64_t *ids, size_t count)
{
    size_t kept = 0;
    if (count > 0)
        qsort(ids, count, sizeof(*ids), compare_ids);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || ids[kept - 1] != ids[i])
            ids[kept++] = ids[i];
    return kept;
}

/* ------------------------------------------------------------------------------- looking slices up
 */

struct look_up {
    struct gc_known *out;
    size_t count, max;
};

static enum rc on_row(const struct ledger_slice *slice, void *arg, struct err *e)
{
    struct look_up *l = arg;
    if (l->count == l->max)
        return err_fail(e, RC_CORRUPT, "more slices were answered than asked for");
    l->out[l->count++] = (struct gc_known){(int64_t)slice->id, slice->size, slice->refs};
    return RC_OK;
}

enum rc gc_look_up(struct gc *gc, const int64_t *ids, size_t count, struct gc_known *out,
                   size_t *found, struct err *e)
{
    struct look_up l = {.out = out, .max = count};
    if (ledger_find(gc->meta, ids, count, on_row, &l, e))
        return err_note(e, "could not look slices up");
    /* The id comes first in the struct. */
    qsort(out, l.count, sizeof(*out), compare_ids);
    *found = l.count;
    return RC_OK;
}

const struct gc_known *gc_find(const struct gc_known *known, size_t count, uint64_t id)
{
    const int64_t key = (int64_t)id;
    return count ? bsearch(&key, known, count, sizeof(*known), compare_ids) : NULL;
}

bool gc_fits(const struct gc *gc, uint32_t size, struct block_id block)
{
    const uint32_t block_bytes = volume_block_bytes(gc->volume);
    return size > 0 && block.indx < block_count(size, block_bytes) &&
           block.size == block_size(size, block_bytes, block.indx);
}

static bool is_trash(const struct gc *gc, uint64_t id)
{
    const int64_t key = (int64_t)id;
    return gc->trash_count &&
           bsearch(&key, gc->trash, gc->trash_count, sizeof(*gc->trash), compare_ids);
}

/* -------------------------------------------------------------------------------- one batch
 */

/* Some stores list without times. An object whose age nobody knows stays. */
static bool is_old(struct gc *gc, struct listed *item)
{
    if (item->mtime_s == 0) {
        struct err ignored = ERR_INIT;
        struct store_object object;
        char key[BLOCK_KEY_BYTES];
        block_key(key, volume_hash_prefix(gc->volume), item->block);
        if (store_head(gc->store, key, &object, clock_deadline(HEAD_MS), &ignored))
            return false;
        item->mtime_s = object.mtime_s;
    }
    return item->mtime_s != 0 && item->mtime_s <= gc->newest_s;
}

static enum rc judge(struct gc *gc, struct listed *item, const struct gc_known *row, struct err *e)
{
    struct gc_report *r = gc->report;
    if (item->block.slice >= gc->start.next_slice || !is_old(gc, item)) {
        tally(&r->skipped, item->stored_bytes);
        return RC_OK;
    }
    if (!row || !gc_fits(gc, row->size, item->block))
        return spill_add(&gc->suspects, &(struct spilled){item->block, item->stored_bytes}, e);
    if (row->refs <= 0)
        tally(&r->pending, item->stored_bytes);
    else if (is_trash(gc, item->block.slice))
        tally(&r->compacted, item->stored_bytes);
    else
        tally(&r->valid, item->stored_bytes);
    return RC_OK;
}

static enum rc judge_batch(struct listing *l, struct err *e)
{
    int64_t ids[GC_BATCH];
    auto_free struct gc_known *known = calloc(GC_BATCH, sizeof(*known));
    if (!known)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < l->count; i++)
        ids[i] = (int64_t)l->batch[i].block.slice;
    size_t found = 0;
    if (gc_look_up(l->gc, ids, gc_unique(ids, l->count), known, &found, e))
        return e->code;
    for (size_t i = 0; i < l->count; i++)
        if (judge(l->gc, &l->batch[i], gc_find(known, found, l->batch[i].block.slice), e))
            return e->code;
    progress_add(l->progress, l->count);
    l->count = 0;
    return RC_OK;
}

/* Is key exactly where this volume keeps that block? */
static bool is_ours(const struct gc *gc, const char *key, struct block_id *block)
{
    struct err ignored = ERR_INIT;
    char own[BLOCK_KEY_BYTES];
    if (block_key_parse(key, block, &ignored))
        return false;
    block_key(own, volume_hash_prefix(gc->volume), *block);
    return strcmp(own, key) == 0;
}

static bool on_object(const struct store_object *object, void *arg)
{
    struct listing *l = arg;
    struct listed item = {.stored_bytes = object->size, .mtime_s = object->mtime_s};
    if (!is_ours(l->gc, object->key, &item.block)) {
        log_debug("object \"%s\" is no block of this volume", object->key);
        tally(&l->gc->report->foreign, object->size);
        return true;
    }
    gc_witnesses_see(&l->witnesses, item.block);
    l->batch[l->count++] = item;
    return l->count < GC_BATCH || judge_batch(l, &l->visit) == RC_OK;
}

static enum rc list_all(struct listing *l, struct err *e)
{
    l->visit = ERR_INIT;
    enum rc rc = store_list(l->gc->store, BLOCKS_PREFIX, "", on_object, l, CLOCK_FOREVER_MS, e);
    if (l->visit.code) {
        *e = l->visit;
        return e->code;
    }
    if (rc)
        return err_note(e, "could not list %s to its end, so nothing is deleted",
                        l->gc->store->label);
    return judge_batch(l, e);
}

static enum rc list_bucket(struct gc *gc, struct err *e)
{
    auto_free struct listing *l = calloc(1, sizeof(*l));
    if (!l)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    l->gc = gc;
    if (gc_witnesses_choose(gc, &l->witnesses, e))
        return e->code;
    l->progress = progress_open("listing objects", 0, false);
    enum rc rc = list_all(l, e);
    progress_close(&l->progress);
    return rc ? rc : gc_witnesses_check(gc, &l->witnesses, e);
}

/* -------------------------------------------------------------------------------- before and after
 */

static enum rc on_delslice(struct bytes entries, void *arg, struct err *e)
{
    struct gc *gc = arg;
    if (array_reserve(&gc->trash, &gc->trash_room, gc->trash_count + entries.size / DELSLICE_SIZE,
                      sizeof(*gc->trash), e))
        return e->code;
    for (size_t at = 0; at + DELSLICE_SIZE <= entries.size; at += DELSLICE_SIZE)
        gc->trash[gc->trash_count++] = (int64_t)wire_u64(entries.data + at);
    return RC_OK;
}

static enum rc load_trash(struct gc *gc, struct err *e)
{
    bool is_end = false;
    for (uint64_t after = 0; !is_end && gc->trash_count < TRASH_MAX;)
        if (ledger_delslices(gc->meta, &after, &is_end, on_delslice, gc, e))
            return e->code;
    gc->trash_count = gc_unique(gc->trash, gc->trash_count);
    return RC_OK;
}

/*
 * Whoever has a session may be about to commit what is in the bucket already; then the hour of the
 * format stands, whatever the caller asked for.
 */
static void choose_age(struct gc *gc)
{
    int64_t skip_s = gc->options->skip_s;
    if (gc->options->deletes && gc->start.sessions > 0 && skip_s < GC_SKIP_S) {
        log_warn("%" PRIu64 " sessions may be writing: objects younger than %d s stay, not %" PRId64
                 " s",
                 gc->start.sessions, GC_SKIP_S, skip_s);
        skip_s = GC_SKIP_S;
    }
    gc->report->skip_s = skip_s;
    gc->newest_s = (int64_t)clock_wall().tv_sec - skip_s;
}

static enum rc show_leaked(struct gc *gc, struct err *e)
{
    struct spilled items[64];
    size_t count = 0;
    if (!gc->options->leaked || gc->leaked.count == 0)
        return RC_OK;
    if (spill_rewind(&gc->leaked, e))
        return e->code;
    do {
        if (spill_read(&gc->leaked, items, sizeof(items) / sizeof(items[0]), &count, e))
            return e->code;
        for (size_t i = 0; i < count; i++)
            if (gc->options->leaked(items[i].block, items[i].stored_bytes, gc->options->arg, e))
                return e->code;
    } while (count > 0);
    return RC_OK;
}

static enum rc collect(struct gc *gc, struct err *e)
{
    if ((gc->options->deletes || gc->options->compacts) && gc_may_delete(gc, e))
        return e->code;
    if ((gc->options->deletes && gc_purge(gc, e)) || (gc->options->compacts && gc_compact(gc, e)))
        return e->code;
    if (ledger_begin(gc->meta, &gc->start, e) ||
        ledger_waiting(gc->meta, &gc->report->waiting, e) || load_trash(gc, e))
        return e->code;
    choose_age(gc);
    if (list_bucket(gc, e) || gc_confirm(gc, e) || show_leaked(gc, e))
        return e->code;
    return gc->options->deletes ? gc_delete(gc, e) : RC_OK;
}

enum rc gc_run(struct volume *volume, const struct gc_options *options, struct gc_report *report,
               struct err *e)
{
    *report = (struct gc_report){.skip_s = options->skip_s};
    struct gc gc = {
        .volume = volume,
        .meta = volume_meta(volume),
        .store = volume_local(volume) ? volume_local(volume) : volume_origin(volume),
        .options = options,
        .report = report,
    };
    enum rc rc = collect(&gc, e);
    spill_deinit(&gc.suspects);
    spill_deinit(&gc.leaked);
    free(gc.trash);
    return rc;
}
