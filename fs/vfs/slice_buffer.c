#include "fs/vfs/slice_buffer.h"

#include <string.h>

#include "fs/base/clock.h"

enum {
    FIRST_CAPACITY = 4096,
    GROWTH = 4,
};

struct write_slice *slice_new(struct inode *inode, uint64_t id, uint32_t indx, uint32_t pos)
{
    struct write_slice *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->inode = inode;
    s->id = id;
    s->indx = indx;
    s->pos = pos;
    s->born_ms = clock_ms();
    return s;
}

void slice_free(struct write_slice *s, struct memory *memory)
{
    for (uint32_t i = 0; i < s->block_count; i++) {
        memory_give(memory, s->blocks[i]->data, s->blocks[i]->capacity);
        free(s->blocks[i]);
    }
    free(s->blocks);
    free(s);
}

bool slice_overlaps(const struct write_slice *s, uint32_t indx, uint32_t pos, uint32_t size)
{
    return s->indx == indx && pos < s->pos + s->size && s->pos < pos + size;
}

bool slice_accepts(const struct write_slice *s, uint32_t block_bytes, uint32_t pos)
{
    if (s->is_frozen || pos < s->pos || pos > s->pos + s->size)
        return false;
    /* Blocks fill up in order, so only the last can still be filling. */
    const uint32_t block = (pos - s->pos) / block_bytes;
    return block == s->block_count || s->blocks[block]->state == BLOCK_FILLING;
}

bool slice_is_ready(const struct write_slice *s)
{
    return s->is_frozen && s->stored == s->block_count;
}

static void queue(struct write_block *block, struct write_batch *batch)
{
    struct write_slice *s = block->slice;
    block->state = BLOCK_QUEUED;
    block->next = NULL;
    s->queued++;
    if (!s->uploaded_ms)
        s->uploaded_ms = clock_ms();
    *batch->tail = block;
    batch->tail = &block->next;
}

static struct write_block *add_block(struct write_slice *s)
{
    if (s->block_count == s->block_capacity) {
        uint32_t capacity = s->block_capacity ? s->block_capacity * 4 : 1;
        struct write_block **blocks = realloc(s->blocks, capacity * sizeof(struct write_block *));
        if (!blocks)
            return NULL;
        s->blocks = blocks;
        s->block_capacity = capacity;
    }
    struct write_block *block = calloc(1, sizeof(*block));
    if (!block)
        return NULL;
    block->slice = s;
    block->indx = s->block_count;
    s->blocks[s->block_count++] = block;
    return block;
}

/* A small file gets a small buffer; a slice that has filled a block will fill the next. */
static uint32_t capacity_for(const struct write_block *block, uint32_t needed, uint32_t block_bytes)
{
    uint32_t capacity = block->capacity ? block->capacity : FIRST_CAPACITY;
    if (block->indx > 0)
        return block_bytes;
    while (capacity < needed)
        capacity *= GROWTH;
    return capacity < block_bytes / 2 ? capacity : block_bytes;
}

static bool reserve(struct write_block *block, struct memory *memory, uint32_t needed,
                    uint32_t block_bytes)
{
    if (block->data && needed <= block->capacity)
        return true;
    const uint32_t capacity = capacity_for(block, needed, block_bytes);
    uint8_t *data = memory_grow(memory, block->data, block->capacity, block->used, capacity);
    if (!data)
        return false;
    block->data = data;
    block->capacity = capacity;
    return true;
}

/* A block that was added in vain would never be stored. */
static void drop_empty(struct write_slice *s, struct write_block *block)
{
    if (!block || block->used)
        return;
    s->block_count--;
    free(block);
}

bool slice_fill(struct write_slice *s, struct memory *memory, uint32_t block_bytes, uint32_t pos,
                const uint8_t *data, uint32_t size, struct write_batch *batch)
{
    uint32_t at = pos - s->pos;
    while (size) {
        const uint32_t indx = at / block_bytes, in_block = at % block_bytes;
        const uint32_t room = block_bytes - in_block, n = size < room ? size : room;
        struct write_block *block = indx < s->block_count ? s->blocks[indx] : add_block(s);
        if (!block || !reserve(block, memory, in_block + n, block_bytes)) {
            drop_empty(s, block);
            return false;
        }
        memcpy(block->data + in_block, data, n);
        at += n;
        data += n;
        size -= n;
        if (in_block + n > block->used)
            block->used = in_block + n;
        if (at > s->size)
            s->size = at;
        if (block->used == block_bytes)
            queue(block, batch);
    }
    if (s->pos + s->size == META_CHUNK_BYTES)
        slice_freeze(s, batch);
    return true;
}

void slice_freeze(struct write_slice *s, struct write_batch *batch)
{
    if (s->is_frozen)
        return;
    s->is_frozen = true;
    struct write_block *last = s->block_count ? s->blocks[s->block_count - 1] : NULL;
    if (last && last->state == BLOCK_FILLING && last->used)
        queue(last, batch);
}

void slice_retry(struct write_slice *s, struct write_batch *batch)
{
    for (uint32_t i = 0; s->failed && i < s->block_count; i++) {
        if (s->blocks[i]->state != BLOCK_FAILED)
            continue;
        s->failed--;
        queue(s->blocks[i], batch);
    }
    s->retried_ms = clock_ms();
}
