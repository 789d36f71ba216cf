/*
 * A listing that ends early without an error would make gc look innocent and a volume look empty.
 * Slices that are known to be there tell the two apart.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/log.h"
#include "fs/upkeep/gc_impl.h"

#define HEAD_MS 60000

static enum rc on_slice(const struct ledger_slice *slice, void *arg, struct err *e)
{
    struct gc_witnesses *w = arg;
    (void)e;
    if (slice->refs > 0 && slice->size > 0 && w->count < GC_WITNESSES)
        w->all[w->count++] = (struct gc_witness){
            .slice = {(int64_t)slice->id, slice->size, slice->refs}, .is_seen = false};
    return RC_OK;
}

static int compare_witnesses(const void *a, const void *b)
{
    const int64_t x = ((const struct gc_witness *)a)->slice.id;
    const int64_t y = ((const struct gc_witness *)b)->slice.id;
    return (x > y) - (x < y);
}

enum rc gc_witnesses_choose(struct gc *gc, struct gc_witnesses *w, struct err *e)
{
    w->count = 0;
    for (uint64_t i = 0; i < GC_WITNESSES; i++) {
        const uint64_t at = hash_u64(clock_us() + i) % (gc->start.next_slice + 1);
        const struct ledger_range range = {at, gc->start.next_slice, 1, false};
        uint32_t ignored;
        if (ledger_slices(gc->meta, &range, on_slice, w, &ignored, e))
            return e->code;
    }
    qsort(w->all, w->count, sizeof(w->all[0]), compare_witnesses);
    return RC_OK;
}

void gc_witnesses_see(struct gc_witnesses *w, struct block_id block)
{
    const struct gc_witness key = {.slice = {.id = (int64_t)block.slice}};
    struct gc_witness *found =
        block.indx == 0 && w->count
            ? bsearch(&key, w->all, w->count, sizeof(w->all[0]), compare_witnesses)
            : NULL;
    /* The same slice may have been chosen twice; they stand side by side. */
    while (found && found > w->all && found[-1].slice.id == key.slice.id)
        found--;
    for (; found && found < w->all + w->count && found->slice.id == key.slice.id; found++)
        found->is_seen = true;
}

static enum rc check_one(struct gc *gc, const struct gc_known *slice, struct err *e)
{
    struct gc_known now;
    size_t found = 0;
    if (gc_look_up(gc, &slice->id, 1, &now, &found, e))
        return e->code;
    if (found == 0 || now.refs <= 0)
        return RC_OK; /* deleted meanwhile */
    const struct block_id block = {(uint64_t)slice->id, 0,
                                   block_size(slice->size, volume_block_bytes(gc->volume), 0)};
    char key[BLOCK_KEY_BYTES];
    block_key(key, volume_hash_prefix(gc->volume), block);
    struct store_object object;
    enum rc rc = store_head(gc->store, key, &object, clock_deadline(HEAD_MS), e);
    if (rc == RC_NOT_FOUND) {
        *e = ERR_INIT;
        log_warn("block %s is lost; run fsck", key);
        return RC_OK;
    }
    return rc ? rc
              : err_fail(e, RC_CORRUPT,
                         "the listing of %s left out %s, which is there, so nothing is deleted",
                         gc->store->label, key);
}

enum rc gc_witnesses_check(struct gc *gc, const struct gc_witnesses *w, struct err *e)
{
    for (size_t i = 0; i < w->count; i++)
        if (!w->all[i].is_seen && check_one(gc, &w->all[i].slice, e))
            return e->code;
    return RC_OK;
}
