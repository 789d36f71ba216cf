/*
 * index - which blocks a cache directory holds, how big they are, and when each was last used.
 *
 * Sixteen bytes for a block, so that a terabyte of 4 MiB blocks costs 8 MiB. Eviction takes the
 * oldest of a few drawn at random, which needs no list and comes close to least-recently-used.
 *
 * Threads   the caller's to lock · Blocking never
 * Units     seconds of any clock that does not go back
 */
#ifndef FS_CACHE_INDEX_H
#define FS_CACHE_INDEX_H

#include <stdbool.h>

#include "fs/store/key.h"

struct block_index;

MUST_CHECK enum rc block_index_open(struct block_index **out, struct err *e);
void block_index_close(struct block_index **index);

/* Add a block, or note that it was used. RC_NO_SPACE without memory. */
MUST_CHECK enum rc block_index_put(struct block_index *index, struct block_id block, uint64_t now_s,
                                   struct err *e);
bool block_index_has(const struct block_index *index, struct block_id block);
/* False when it is not there. */
bool block_index_remove(struct block_index *index, struct block_id block);

/* A block worth evicting; false when there is none. */
bool block_index_pick(struct block_index *index, struct block_id *out);

/* Bytes on disk (with trailers, in 4 KiB units) and number of blocks. */
uint64_t block_index_bytes(const struct block_index *index);
uint64_t block_index_count(const struct block_index *index);

#endif
