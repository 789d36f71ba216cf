/*
 * From suspicion to removal. A slice that has no row is leaked only when no chunk names it either:
 * a lost row is damage, and damage is no order to delete data.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/upkeep/census.h"
#include "fs/upkeep/gc_impl.h"
#include "fs/volume/epoch_mark.h"

/* Suspects that are compared with all chunks in one walk over them. */
#define ROUND     ((size_t)1 << 20)
#define REMOVE_MS 60000
#define POLL_MS   200

METRIC_DEFINE(removed_objects, METRIC_COUNTER, "tarn_gc_objects_deleted_total", NULL,
              "leaked objects that were deleted")

/* --------------------------------------------------------------------------------- permission */

static enum rc check_epoch(struct gc *gc, struct err *e)
{
    struct ledger_epoch own;
    struct epoch_mark bucket;
    if (ledger_epoch(gc->meta, &own, e))
        return e->code;
    enum rc rc = epoch_read(gc->store, &bucket, e);
    if (rc == RC_NOT_FOUND) { /* no agent has ever run here */
        *e = ERR_INIT;
        return RC_OK;
    }
    if (rc)
        return rc;
    struct epoch_mark database = {
        .epoch = own.epoch, .timeline = own.timeline, .next_chunk = own.next_chunk};
    (void)snprintf(database.system_identifier, sizeof(database.system_identifier), "%s",
                   own.system_identifier);
    return epoch_check(&bucket, &database, e);
}

enum rc gc_may_delete(struct gc *gc, struct err *e)
{
    if (volume_vouch(gc->volume, e))
        return err_note(e, "nothing is deleted");
    return check_epoch(gc, e);
}

/* ------------------------------------------------------------------------------- confirmation */

/* One round of suspects and what is known of their slices. */
struct round {
    struct gc *gc;
    struct spilled *items;
    size_t count;
    int64_t *ids; /* of the items, ascending, each once */
    size_t id_count;
    uint32_t *named;
    struct gc_known *known; /* rows, ascending */
    size_t known_count;
    int64_t *misfits; /* ids whose row is of another size than the object */
    size_t misfit_count;
};

static void round_deinit(struct round *r)
{
    free(r->items);
    free(r->ids);
    free(r->named);
    free(r->known);
    free(r->misfits);
}
#define auto_round __attribute__((cleanup(round_deinit)))

static enum rc round_init(struct round *r, struct gc *gc, size_t most, struct err *e)
{
    r->gc = gc;
    r->items = calloc(most, sizeof(*r->items));
    r->ids = calloc(most, sizeof(*r->ids));
    r->named = calloc(most, sizeof(*r->named));
    r->known = calloc(most, sizeof(*r->known));
    r->misfits = calloc(most, sizeof(*r->misfits));
    if (!r->items || !r->ids || !r->named || !r->known || !r->misfits)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    return RC_OK;
}

/* Read the next suspects and look their slices up. *is_end: there were none. */
static enum rc round_fill(struct round *r, struct spill *from, size_t most, struct err *e)
{
    if (spill_read(from, r->items, most, &r->count, e))
        return e->code;
    for (size_t i = 0; i < r->count; i++)
        r->ids[i] = (int64_t)r->items[i].block.slice;
    r->id_count = gc_unique(r->ids, r->count);
    r->known_count = 0;
    for (size_t at = 0; at < r->id_count; at += GC_BATCH) {
        const size_t some = r->id_count - at < GC_BATCH ? r->id_count - at : GC_BATCH;
        size_t found = 0;
        if (gc_look_up(r->gc, r->ids + at, some, r->known + r->known_count, &found, e))
            return e->code;
        r->known_count += found;
    }
    return RC_OK;
}

static bool is_misfit(const struct round *r, uint64_t id)
{
    for (size_t i = 0; i < r->misfit_count; i++)
        if (r->misfits[i] == (int64_t)id)
            return true;
    return false;
}

/* Records of a size that the object is a block of: then it is the row that is wrong. */
static enum rc on_count(const struct ledger_count *count, void *arg, struct err *e)
{
    struct round *r = arg;
    (void)e;
    for (size_t i = 0; i < r->count; i++)
        if (r->items[i].block.slice == count->id && count->named > 0 &&
            gc_fits(r->gc, count->named_size, r->items[i].block))
            r->misfits[r->misfit_count++] = (int64_t)count->id;
    r->misfit_count = gc_unique(r->misfits, r->misfit_count);
    return RC_OK;
}

static enum rc find_misfits(struct round *r, struct err *e)
{
    auto_free int64_t *ids = calloc(r->count + 1, sizeof(*ids));
    if (!ids)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++)
        if (gc_find(r->known, r->known_count, r->items[i].block.slice))
            ids[count++] = (int64_t)r->items[i].block.slice;
    count = gc_unique(ids, count);
    r->misfit_count = 0;
    return count ? ledger_count_refs(r->gc->meta, ids, count, on_count, r, e) : RC_OK;
}

static enum rc count_named(struct round *r, struct err *e)
{
    for (size_t i = 0; i < r->id_count; i++)
        r->named[i] = 0;
    const struct census census = {
        .ids = r->ids,
        .named = r->named,
        .count = r->id_count,
        .first = (uint64_t)r->ids[0],
        .last = (uint64_t)r->ids[r->id_count - 1],
    };
    return census_walk(&census, r->gc->meta, e);
}

/* Do the metadata ask for this object after all? */
static bool is_wanted(const struct round *r, const struct spilled *item)
{
    const uint64_t id = item->block.slice;
    const struct gc_known *row = gc_find(r->known, r->known_count, id);
    if (row)
        return gc_fits(r->gc, row->size, item->block) || is_misfit(r, id);
    return r->named[census_place(r->ids, r->id_count, id)] > 0;
}

static enum rc confirm_round(struct round *r, struct err *e)
{
    struct gc_report *report = r->gc->report;
    if (count_named(r, e) || find_misfits(r, e))
        return e->code;
    uint64_t damaged = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct gc_tally *t = &report->leaked;
        if (is_wanted(r, &r->items[i])) {
            t = &report->valid;
            damaged++;
        } else if (spill_add(&r->gc->leaked, &r->items[i], e)) {
            return e->code;
        }
        t->objects++;
        t->bytes += r->items[i].stored_bytes;
    }
    if (damaged)
        log_warn("%" PRIu64
                 " objects are in use, but the counts of their slices do not say so; run "
                 "fsck",
                 damaged);
    return RC_OK;
}

enum rc gc_confirm(struct gc *gc, struct err *e)
{
    if (gc->suspects.count == 0)
        return RC_OK;
    const size_t most = gc->suspects.count < ROUND ? (size_t)gc->suspects.count : ROUND;
    auto_round struct round r = {0};
    if (round_init(&r, gc, most, e) || spill_rewind(&gc->suspects, e))
        return e->code;
    for (;;) {
        if (round_fill(&r, &gc->suspects, most, e))
            return e->code;
        if (r.count == 0)
            return RC_OK;
        if (confirm_round(&r, e))
            return err_note(e, "could not read every chunk, so nothing is deleted");
    }
}

/* ------------------------------------------------------------------------------------ removal */

/* A mirror may still show files of this slice that are gone here. */
static enum rc await_mirrors(struct gc *gc, struct err *e)
{
    if (gc->start.mirrors == 0)
        return RC_OK;
    char position[LEDGER_POSITION_BYTES];
    const uint64_t deadline = clock_deadline(gc->options->mirror_wait_ms);
    if (ledger_position(gc->meta, position, e))
        return e->code;
    for (;;) {
        uint64_t behind = 0;
        char first[64] = "";
        if (ledger_mirrors_behind(gc->meta, position, &behind, first, e))
            return e->code;
        if (behind == 0)
            return RC_OK;
        if (clock_left(deadline) == 0)
            return err_fail(e, RC_UNAVAILABLE,
                            "mirror \"%s\" has not confirmed %s yet, so nothing is deleted; a "
                            "mirror that is gone for good must leave (tarn mirror leave)",
                            first, position);
        clock_sleep_until(clock_deadline(POLL_MS));
    }
}

struct removal {
    struct gc *gc;
    const struct round *round;
    atomic_uint_fast64_t objects, bytes;
    struct progress *progress;
};

static enum rc remove_one(size_t i, void *arg, struct err *e)
{
    struct removal *m = arg;
    const struct spilled *item = &m->round->items[i];
    progress_add(m->progress, 1);
    const struct gc_known *row = gc_find(m->round->known, m->round->known_count, item->block.slice);
    if (row && gc_fits(m->gc, row->size, item->block))
        return RC_OK; /* committed since */
    if (volume_remove_block(m->gc->volume, item->block, clock_deadline(REMOVE_MS), e))
        return err_note(e, "could not delete an object of slice %" PRIu64, item->block.slice);
    metric_add(&removed_objects, 1);
    atomic_fetch_add(&m->objects, 1);
    atomic_fetch_add(&m->bytes, item->stored_bytes);
    return RC_OK;
}

static enum rc remove_all(struct gc *gc, struct round *r, struct removal *m, struct err *e)
{
    for (;;) {
        /* This look-up is the second look, right before the batch is removed. */
        if (round_fill(r, &gc->leaked, GC_BATCH, e))
            return e->code;
        if (r->count == 0)
            return RC_OK;
        if (parallel_run(r->count, gc->options->threads, remove_one, m, e))
            return e->code;
    }
}

enum rc gc_delete(struct gc *gc, struct err *e)
{
    if (gc->leaked.count == 0)
        return RC_OK;
    auto_round struct round r = {0};
    if (await_mirrors(gc, e) || volume_vouch(gc->volume, e) || round_init(&r, gc, GC_BATCH, e) ||
        spill_rewind(&gc->leaked, e))
        return e->code;
    struct removal m = {.gc = gc, .round = &r};
    m.progress = progress_open("deleting leaked objects", gc->leaked.count, false);
    enum rc rc = remove_all(gc, &r, &m, e);
    progress_close(&m.progress);
    gc->report->deleted = (struct gc_tally){m.objects, m.bytes};
    gc->report->kept = (struct gc_tally){gc->report->leaked.objects - m.objects,
                                         gc->report->leaked.bytes - m.bytes};
    return rc;
}
