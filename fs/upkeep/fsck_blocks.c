/*
 * Blocks of slices against the bucket. A directory of the bucket holds the blocks of a thousand
 * neighbours (of some four thousand slices with a hash prefix), so it is listed and compared with
 * the slices of the same numbers; what the listing does not show is asked for by name before it is
 * called lost.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/clock.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/base/wire.h"
#include "fs/upkeep/fsck_impl.h"

#define MILLION  1000000u
#define PAGE     10000
#define BLOCK_MS 120000
#define HASHES   256u

struct found {
    struct block_id block;
    uint64_t stored;
};

/* The slices of one million numbers, and what is listed for one directory of theirs. */
struct region {
    struct fsck *f;
    struct fsck_slice *slices; /* room for MILLION */
    size_t count;
    struct found *found;
    size_t found_count, found_room;
    struct err visit; /* why a visit failed */
    struct progress *progress;
};

static void region_deinit(struct region *r)
{
    progress_close(&r->progress);
    free(r->slices);
    free(r->found);
}
#define auto_region __attribute__((cleanup(region_deinit)))

/* ------------------------------------------------------------------------------- one block */

static bool is_block_size(const struct fsck *f, uint64_t stored, uint32_t size)
{
    return f->has_exact_sizes ? stored == size : stored > 0;
}

static void tell_block(struct fsck *f, const char *kind, struct block_id block, const char *text)
{
    char key[BLOCK_KEY_BYTES], line[ERR_TEXT_BYTES];
    block_key(key, volume_hash_prefix(f->volume), block);
    (void)snprintf(line, sizeof(line), "block %s %s", key, text);
    fsck_tell_later(f, kind, block.slice, line);
}

static void tell_size(struct fsck *f, struct block_id block, uint64_t stored)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "has %" PRIu64 " bytes", stored);
    tell_block(f, "block size", block, text);
}

static void count_block(struct fsck *f, struct block_id block)
{
    LOCK_SCOPE(&f->lock);
    f->report->blocks++;
    f->report->block_bytes += block.size;
}

static enum rc note_refs(const struct ledger_slice *slice, void *arg, struct err *e)
{
    (void)e;
    *(bool *)arg = slice->refs > 0;
    return RC_OK;
}

/* Lost, unless the slice was deleted meanwhile. */
static enum rc tell_lost(struct fsck *f, struct block_id block, struct err *e)
{
    const int64_t id = (int64_t)block.slice;
    bool is_wanted = false;
    if (ledger_find(f->meta, &id, 1, note_refs, &is_wanted, e))
        return e->code;
    if (!is_wanted)
        return RC_OK;
    lock_take(&f->lock);
    f->report->lost_blocks++;
    f->report->lost_bytes += block.size;
    lock_drop(&f->lock);
    tell_block(f, "lost block", block, "is not in the bucket");
    return RC_OK;
}

/* Ask for a block by name. */
static enum rc check_by_name(struct fsck *f, struct block_id block, struct err *e)
{
    char key[BLOCK_KEY_BYTES];
    struct store_object object;
    block_key(key, volume_hash_prefix(f->volume), block);
    enum rc rc = store_head(f->chain, key, &object, clock_deadline(BLOCK_MS), e);
    if (rc == RC_NOT_FOUND) {
        *e = ERR_INIT;
        return tell_lost(f, block, e);
    }
    if (rc)
        return err_note(e, "could not ask for block %s", key);
    if (!is_block_size(f, object.size, block.size))
        tell_size(f, block, object.size);
    else
        count_block(f, block);
    return RC_OK;
}

/* ------------------------------------------------------------------------- a directory of blocks
 */

static int compare_found(const void *a, const void *b)
{
    const struct block_id *x = a, *y = b; /* the block comes first in a struct found */
    if (x->slice != y->slice)
        return x->slice < y->slice ? -1 : 1;
    if (x->indx != y->indx)
        return x->indx < y->indx ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

static bool on_object(const struct store_object *object, void *arg)
{
    struct region *r = arg;
    struct err ignored = ERR_INIT;
    struct found item = {.stored = object->size};
    if (block_key_parse(object->key, &item.block, &ignored))
        return true;
    if (array_reserve(&r->found, &r->found_room, r->found_count + 1, sizeof(*r->found), &r->visit))
        return false;
    r->found[r->found_count++] = item;
    return true;
}

static enum rc list_directory(struct region *r, const struct fsck_slice *any, struct err *e)
{
    char prefix[BLOCK_KEY_BYTES];
    block_key(prefix, volume_hash_prefix(r->f->volume), (struct block_id){any->id, 0, 1});
    strrchr(prefix, '/')[1] = 0;
    r->found_count = 0;
    r->visit = ERR_INIT;
    enum rc rc = store_list(r->f->store, prefix, "", on_object, r, CLOCK_FOREVER_MS, e);
    if (rc)
        return err_note(e, "could not list %s of %s", prefix, r->f->store->label);
    if (r->visit.code) {
        *e = r->visit;
        return e->code;
    }
    if (r->found_count)
        qsort(r->found, r->found_count, sizeof(*r->found), compare_found);
    return RC_OK;
}

static enum rc check_slice(struct region *r, const struct fsck_slice *slice, struct err *e)
{
    struct fsck *f = r->f;
    const uint32_t block_bytes = volume_block_bytes(f->volume);
    const uint32_t count = block_count(slice->size, block_bytes);
    for (uint32_t i = 0; i < count; i++) {
        const struct block_id block = {slice->id, i, block_size(slice->size, block_bytes, i)};
        const struct found *at =
            r->found_count ? bsearch(&block, r->found, r->found_count, sizeof(*at), compare_found)
                           : NULL;
        if (at && is_block_size(f, at->stored, block.size))
            count_block(f, block);
        else if (check_by_name(f, block, e))
            return e->code;
    }
    return RC_OK;
}

/* Slices whose blocks are in one directory. */
struct group {
    struct region *region;
    const struct fsck_slice *slices;
};

static enum rc check_one(size_t i, void *arg, struct err *e)
{
    struct group *g = arg;
    struct fsck *f = g->region->f;
    if (check_slice(g->region, &g->slices[i], e))
        return e->code;
    progress_add(g->region->progress, 1);
    return f->options->checks_sums ? fsck_read_slice(f, &g->slices[i], e) : RC_OK;
}

static enum rc check_group(struct region *r, const struct fsck_slice *slices, size_t count,
                           struct err *e)
{
    struct group g = {r, slices};
    for (size_t i = 0; i < count; i++)
        r->f->report->slice_bytes += slices[i].size;
    r->f->report->slices += count;
    if (list_directory(r, slices, e))
        return e->code;
    enum rc rc = parallel_run(count, r->f->options->threads, check_one, &g, e);
    fsck_tell_rest(r->f);
    return rc;
}

/* ------------------------------------------------------------------------- a million of slices */

/* The number of the directory of a slice within its million. */
static uint64_t directory_of(const struct fsck *f, uint64_t id)
{
    return volume_hash_prefix(f->volume) ? id % HASHES : id / 1000;
}

static int compare_by_hash(const void *a, const void *b)
{
    const uint64_t x = ((const struct fsck_slice *)a)->id;
    const uint64_t y = ((const struct fsck_slice *)b)->id;
    if (x % HASHES != y % HASHES)
        return x % HASHES < y % HASHES ? -1 : 1;
    return (x > y) - (x < y);
}

static enum rc check_region(struct region *r, struct err *e)
{
    if (volume_hash_prefix(r->f->volume))
        qsort(r->slices, r->count, sizeof(*r->slices), compare_by_hash);
    for (size_t from = 0, to; from < r->count; from = to) {
        const uint64_t directory = directory_of(r->f, r->slices[from].id);
        for (to = from + 1; to < r->count && directory_of(r->f, r->slices[to].id) == directory;)
            to++;
        if (check_group(r, r->slices + from, to - from, e))
            return e->code;
    }
    return RC_OK;
}

struct reading {
    struct region *region;
    uint64_t last; /* id of the last row, whatever its count */
};

static enum rc on_slice(const struct ledger_slice *slice, void *arg, struct err *e)
{
    struct reading *reading = arg;
    struct region *r = reading->region;
    (void)e;
    reading->last = slice->id;
    if (slice->refs > 0 && slice->size > 0 && slice->size <= META_CHUNK_BYTES && r->count < MILLION)
        r->slices[r->count++] = (struct fsck_slice){slice->id, slice->size};
    return RC_OK;
}

/* The rows of the first million that has any behind `after`; *after moves to its end. */
static enum rc read_region(struct region *r, uint64_t *after, bool *is_end, struct err *e)
{
    struct reading reading = {.region = r, .last = 0};
    uint32_t read = 0;
    r->count = 0;
    struct ledger_range range = {*after, INT64_MAX, 1, false};
    if (ledger_slices(r->f->meta, &range, on_slice, &reading, &read, e))
        return e->code;
    *is_end = read == 0;
    const uint64_t before = (reading.last / MILLION + 1) * MILLION;
    range = (struct ledger_range){reading.last, before, PAGE, false};
    while (!*is_end && read > 0) {
        range.after = reading.last;
        if (ledger_slices(r->f->meta, &range, on_slice, &reading, &read, e))
            return e->code;
    }
    *after = before - 1;
    return RC_OK;
}

enum rc fsck_blocks(struct fsck *f, struct err *e)
{
    auto_region struct region r = {.f = f};
    r.slices = calloc(MILLION, sizeof(*r.slices));
    if (!r.slices)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    r.progress = progress_open("checking slices", 0, false);
    bool is_end = false;
    for (uint64_t after = 0; !is_end;)
        if (read_region(&r, &after, &is_end, e) || check_region(&r, e))
            return e->code;
    return RC_OK;
}

/* -------------------------------------------------------------------- the slices of some inodes */

struct by_name {
    struct fsck *f;
    struct fsck_slice *slices;
    size_t count, room;
};

static enum rc add_slice(struct by_name *b, uint64_t id, uint32_t size, struct err *e)
{
    if (id == 0 || size == 0 || size > META_CHUNK_BYTES)
        return RC_OK;
    if (array_reserve(&b->slices, &b->room, b->count + 1, sizeof(*b->slices), e))
        return e->code;
    b->slices[b->count++] = (struct fsck_slice){id, size};
    return RC_OK;
}

static enum rc on_chunk(const struct ledger_chunk *chunk, void *arg, struct err *e)
{
    for (size_t at = 0; at + 24 <= chunk->records.size; at += 24) {
        const uint8_t *record = chunk->records.data + at;
        if (add_slice(arg, wire_u64(record + 4), wire_u32(record + 12), e))
            return e->code;
    }
    return RC_OK;
}

static enum rc check_named(size_t i, void *arg, struct err *e)
{
    const struct by_name *b = arg;
    const struct fsck_slice *slice = &b->slices[i];
    const uint32_t block_bytes = volume_block_bytes(b->f->volume);
    const uint32_t count = block_count(slice->size, block_bytes);
    for (uint32_t k = 0; k < count; k++) {
        const struct block_id block = {slice->id, k, block_size(slice->size, block_bytes, k)};
        if (check_by_name(b->f, block, e))
            return e->code;
    }
    return b->f->options->checks_sums ? fsck_read_slice(b->f, slice, e) : RC_OK;
}

static int compare_slices(const void *a, const void *b)
{
    const uint64_t x = ((const struct fsck_slice *)a)->id;
    const uint64_t y = ((const struct fsck_slice *)b)->id;
    return (x > y) - (x < y);
}

/* A slice that several records name is checked once. */
static void make_unique(struct by_name *b)
{
    size_t kept = 0;
    if (b->count)
        qsort(b->slices, b->count, sizeof(*b->slices), compare_slices);
    for (size_t i = 0; i < b->count; i++)
        if (kept == 0 || b->slices[kept - 1].id != b->slices[i].id)
            b->slices[kept++] = b->slices[i];
    b->count = kept;
}

static enum rc check_page(struct by_name *b, struct err *e)
{
    make_unique(b);
    for (size_t i = 0; i < b->count; i++)
        b->f->report->slice_bytes += b->slices[i].size;
    b->f->report->slices += b->count;
    enum rc rc = parallel_run(b->count, b->f->options->threads, check_named, b, e);
    fsck_tell_rest(b->f);
    return rc;
}

enum rc fsck_blocks_of(struct fsck *f, const int64_t *inos, size_t count, struct err *e)
{
    struct by_name b = {.f = f};
    enum rc rc = RC_OK;
    bool is_end = count == 0;
    for (int64_t after = 0; !is_end && rc == RC_OK;) {
        b.count = 0;
        rc = ledger_chunks(f->meta, inos, count, &after, &is_end, on_chunk, &b, e);
        if (rc == RC_OK)
            rc = check_page(&b, e);
    }
    free(b.slices);
    return rc;
}
