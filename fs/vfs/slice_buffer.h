/*
 * slice_buffer - one slice that is being written: its place in a chunk, its blocks, their memory.
 *
 *   block     data            becomes
 *   filling   may change      queued, when it is full or its slice is frozen
 *   queued    read by upload  stored or failed
 *   failed    kept            queued, by the next flush
 *   stored    given back      –
 *
 * Threads   the inode's lock, except that an upload reads a queued block without it
 */
#ifndef FS_VFS_SLICE_BUFFER_H
#define FS_VFS_SLICE_BUFFER_H

#include "fs/cache/memory.h"
#include "fs/meta/types.h"

#define BLOCK_SUMS_MAX 64 /* of 256 KiB in 16 MiB */

struct inode;
struct write_slice;

enum block_state { BLOCK_FILLING, BLOCK_QUEUED, BLOCK_FAILED, BLOCK_STORED };

struct write_block {
    struct write_slice *slice;
    uint32_t indx;
    uint32_t used, capacity; /* bytes */
    uint8_t *data;
    enum block_state state;
    uint64_t attempt;         /* number of its last upload among those of the inode */
    struct write_block *next; /* in a batch to be queued */
    uint32_t sums[BLOCK_SUMS_MAX];
};

struct write_slice {
    struct inode *inode;
    struct write_slice *prev, *next;
    uint64_t id, seq;
    uint32_t indx;      /* of the chunk */
    uint32_t pos, size; /* in the chunk */
    bool is_frozen;     /* takes no more data */
    uint32_t block_count, block_capacity;
    uint32_t queued, failed, stored; /* blocks in these states */
    uint64_t failure;                /* highest number of an upload of it that failed; 0: none */
    struct write_block **blocks;
    uint64_t born_ms;
    uint64_t uploaded_ms; /* when its first upload was queued; 0: not yet */
    uint64_t retried_ms;  /* when failed blocks were last queued */
};

/* Blocks to be queued once the lock is dropped. */
struct write_batch {
    struct write_block *first, **tail;
};
#define WRITE_BATCH_INIT(batch) ((struct write_batch){.first = NULL, .tail = &(batch).first})

struct write_slice *slice_new(struct inode *inode, uint64_t id, uint32_t indx, uint32_t pos);
/* No block may be queued. */
void slice_free(struct write_slice *slice, struct memory *memory);

bool slice_overlaps(const struct write_slice *slice, uint32_t indx, uint32_t pos, uint32_t size);
/* May data at pos be put into it: adjacent, or over bytes that are not queued? */
bool slice_accepts(const struct write_slice *slice, uint32_t block_bytes, uint32_t pos);
/* All blocks stored, and no more to come. */
bool slice_is_ready(const struct write_slice *slice);

/*
 * Put data at pos, which slice_accepts(). Full blocks go into batch. False without memory; what
 * was put before stays.
 */
bool slice_fill(struct write_slice *slice, struct memory *memory, uint32_t block_bytes,
                uint32_t pos, const uint8_t *data, uint32_t size, struct write_batch *batch);
/* Take no more data; the last block goes into batch. */
void slice_freeze(struct write_slice *slice, struct write_batch *batch);
/* Put failed blocks into batch again. */
void slice_retry(struct write_slice *slice, struct write_batch *batch);

#endif
