#include "fs/cache/index.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/hash.h"
#include "fs/cache/trailer.h"

enum {
    FIRST_SLOTS = 256,
    SAMPLES = 8,
    SIZE_MASK = (1 << 25) - 1, /* blocks are at most 16 MiB */
    INDX_MASK = (1 << 10) - 1, /* 64 MiB of at least 64 KiB */
};
#define USED_MASK ((1ull << 29) - 1)

/* Linear probing with backward shift: no tombstones, so that sampling stays fair. */
struct slot {
    uint64_t slice; /* 0: empty; slice ids begin at 1 */
    uint64_t size : 25;
    uint64_t indx : 10;
    uint64_t used_s : 29;
};

struct block_index {
    struct slot *slots;
    size_t slot_count; /* a power of two */
    size_t used;
    uint64_t bytes;
    uint64_t draws;
};

enum rc block_index_open(struct block_index **out, struct err *e)
{
    struct block_index *ix = calloc(1, sizeof(*ix));
    if (ix)
        ix->slots = calloc(FIRST_SLOTS, sizeof(*ix->slots));
    if (!ix || !ix->slots) {
        free(ix);
        return err_fail(e, RC_NO_SPACE, "could not allocate a block index");
    }
    ix->slot_count = FIRST_SLOTS;
    *out = ix;
    return RC_OK;
}

void block_index_close(struct block_index **index)
{
    struct block_index *ix = *index;
    if (!ix)
        return;
    *index = NULL;
    free(ix->slots);
    free(ix);
}

static uint64_t disk_bytes(uint64_t plain_bytes)
{
    uint64_t file = plain_bytes + 4ull * trailer_count((uint32_t)plain_bytes);
    return (file + 4095) & ~4095ull;
}

static size_t home_of(const struct block_index *ix, uint64_t slice, uint64_t indx)
{
    return (size_t)hash_u64(slice * (INDX_MASK + 1) + indx) & (ix->slot_count - 1);
}

/* The slot of a block, or the empty one where it would go. */
static struct slot *find(const struct block_index *ix, struct block_id block)
{
    size_t at = home_of(ix, block.slice, block.indx);
    while (ix->slots[at].slice &&
           (ix->slots[at].slice != block.slice || ix->slots[at].indx != block.indx))
        at = (at + 1) & (ix->slot_count - 1);
    return &ix->slots[at];
}

static bool grow(struct block_index *ix)
{
    struct block_index bigger = *ix;
    bigger.slot_count = ix->slot_count * 2;
    bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < ix->slot_count; i++) {
        const struct slot *s = &ix->slots[i];
        if (s->slice)
            *find(&bigger, (struct block_id){.slice = s->slice, .indx = (uint32_t)s->indx}) = *s;
    }
    free(ix->slots);
    *ix = bigger;
    return true;
}

enum rc block_index_put(struct block_index *ix, struct block_id block, uint64_t now_s,
                        struct err *e)
{
    if (ix->used >= ix->slot_count / 4 * 3 && !grow(ix))
        return err_fail(e, RC_NO_SPACE, "could not grow the block index past %zu blocks", ix->used);
    struct slot *s = find(ix, block);
    if (!s->slice) {
        s->slice = block.slice;
        s->indx = block.indx & INDX_MASK;
        s->size = block.size & SIZE_MASK;
        s->used_s = 0;
        ix->used++;
        ix->bytes += disk_bytes(s->size);
    }
    if (now_s)
        s->used_s = now_s & USED_MASK;
    return RC_OK;
}

bool block_index_has(const struct block_index *ix, struct block_id block)
{
    return find(ix, block)->slice != 0;
}

bool block_index_remove(struct block_index *ix, struct block_id block)
{
    struct slot *s = find(ix, block);
    if (!s->slice)
        return false;
    ix->used--;
    ix->bytes -= disk_bytes(s->size);

    const size_t mask = ix->slot_count - 1;
    size_t hole = (size_t)(s - ix->slots);
    for (size_t at = (hole + 1) & mask; ix->slots[at].slice; at = (at + 1) & mask) {
        size_t home = home_of(ix, ix->slots[at].slice, ix->slots[at].indx);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            ix->slots[hole] = ix->slots[at];
            hole = at;
        }
    }
    memset(&ix->slots[hole], 0, sizeof(ix->slots[hole]));
    return true;
}

/* The first block at or after a random slot. */
static const struct slot *draw(struct block_index *ix)
{
    size_t at = (size_t)hash_u64(++ix->draws) & (ix->slot_count - 1);
    while (!ix->slots[at].slice)
        at = (at + 1) & (ix->slot_count - 1);
    return &ix->slots[at];
}

bool block_index_pick(struct block_index *ix, struct block_id *out)
{
    if (ix->used == 0)
        return false;
    const struct slot *oldest = draw(ix);
    for (int i = 1; i < SAMPLES; i++) {
        const struct slot *s = draw(ix);
        if (s->used_s < oldest->used_s)
            oldest = s;
    }
    *out = (struct block_id){
        .slice = oldest->slice, .indx = (uint32_t)oldest->indx, .size = (uint32_t)oldest->size};
    return true;
}

uint64_t block_index_bytes(const struct block_index *ix)
{
    return ix->bytes;
}

uint64_t block_index_count(const struct block_index *ix)
{
    return ix->used;
}
