/*
 * Reading every byte of a slice: it must decode to its length, and to its sums where there are any.
 * A slice of a stock client has none; those of what is in the bucket are kept from then on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/wire.h"
#include "fs/upkeep/fsck_impl.h"

#define BLOCK_MS 120000

/* The sums of one slice: as stored, and as found. */
struct sums {
    uint32_t *stored; /* NULL: it has none */
    uint32_t *found;
    uint32_t count;
    uint8_t *plain; /* one block */
};

static void sums_deinit(struct sums *s)
{
    free(s->stored);
    free(s->found);
    free(s->plain);
}
#define auto_sums __attribute__((cleanup(sums_deinit)))

static enum rc on_slice(const struct ledger_slice *slice, void *arg, struct err *e)
{
    struct sums *s = arg;
    if (slice->sums.size != (size_t)s->count * 4)
        return RC_OK;
    s->stored = calloc(s->count, sizeof(*s->stored));
    if (!s->stored)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < s->count; i++)
        s->stored[i] = wire_u32(slice->sums.data + (size_t)i * 4);
    return RC_OK;
}

static enum rc sums_load(struct sums *s, struct fsck *f, const struct fsck_slice *slice,
                         struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(f->volume);
    const uint32_t piece = meta_sum_bytes(block_bytes);
    s->count = slice->size / piece + (slice->size % piece != 0);
    s->found = calloc(s->count, sizeof(*s->found));
    s->plain = malloc(block_bytes);
    if (!s->found || !s->plain)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const struct ledger_range range = {slice->id - 1, slice->id + 1, 1, true};
    uint32_t ignored;
    return ledger_slices(f->meta, &range, on_slice, s, &ignored, e);
}

static void tell_bad(struct fsck *f, struct block_id block, const struct err *why)
{
    char text[ERR_TEXT_BYTES + 64];
    (void)snprintf(text, sizeof(text), "slice %" PRIu64 ": %s", block.slice, why->text);
    fsck_tell_later(f, "bad block", block.slice, text);
}

/* *is_good: the block is what it should be. A block that is not there was told before. */
static enum rc read_block(struct fsck *f, struct sums *s, const struct fsck_slice *slice,
                          uint32_t indx, bool *is_good, struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(f->volume);
    const struct block_id block = {slice->id, indx, block_size(slice->size, block_bytes, indx)};
    const struct slice_sums stored = {
        .id = slice->id, .size = slice->size, .count = s->count, .sums = s->stored};
    const struct block_sums sums = volume_block_sums(f->volume, s->stored ? &stored : NULL, indx);
    enum rc rc = volume_get_block_from(f->volume, f->chain, block, sums, s->plain,
                                       clock_deadline(BLOCK_MS), e);
    *is_good = rc == RC_OK;
    if (rc == RC_OK)
        volume_sum_block(f->volume, s->plain, block.size,
                         s->found + (uint64_t)indx * (block_bytes / meta_sum_bytes(block_bytes)));
    if (rc == RC_CORRUPT)
        tell_bad(f, block, e);
    if (rc == RC_CORRUPT || rc == RC_NOT_FOUND) {
        *e = ERR_INIT;
        return RC_OK;
    }
    return rc;
}

static enum rc keep_sums(struct fsck *f, const struct sums *s, const struct fsck_slice *slice,
                         struct err *e)
{
    auto_free uint8_t *packed = malloc((size_t)s->count * 4);
    if (!packed)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < s->count; i++)
        wire_put_u32(packed + (size_t)i * 4, s->found[i]);
    return ledger_add_sums(f->meta, slice->id, slice->size,
                           (struct bytes){packed, (size_t)s->count * 4}, e);
}

enum rc fsck_read_slice(struct fsck *f, const struct fsck_slice *slice, struct err *e)
{
    auto_sums struct sums s = {0};
    if (sums_load(&s, f, slice, e))
        return e->code;
    const uint32_t count = block_count(slice->size, volume_block_bytes(f->volume));
    bool is_whole = true;
    for (uint32_t i = 0; i < count; i++) {
        bool is_good;
        if (read_block(f, &s, slice, i, &is_good, e))
            return err_note(e, "could not read slice %" PRIu64, slice->id);
        is_whole = is_whole && is_good;
    }
    if (s.stored)
        return RC_OK;
    const bool is_kept = is_whole && f->options->repairs;
    if (is_kept && keep_sums(f, &s, slice, e))
        return e->code;
    LOCK_SCOPE(&f->lock);
    f->report->unsummed++;
    f->report->summed += is_kept;
    return RC_OK;
}
