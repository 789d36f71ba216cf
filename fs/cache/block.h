/*
 * block - where a block is, verified: memory, disk cache, store chain; one fetch per block however
 * many ask.
 *
 * Memory holds blocks that are being read now, within a budget, and gives them back when they have
 * been idle for a few seconds. The disk cache keeps the rest. No byte leaves here that was not
 * checked: by its sums when it came from a store, by CRC32C per 32 KiB when it came from disk.
 *
 * Threads   any, between open and close
 * Blocking  block_cache_read waits for disk and network; prefetch returns at once
 */
#ifndef FS_CACHE_BLOCK_H
#define FS_CACHE_BLOCK_H

#include "fs/cache/memory.h"
#include "fs/volume/volume.h"

struct block_cache;

struct block_cache_options {
    struct volume *volume; /* outlives the cache */
    const char *disk_dir;  /* NULL or "": no disk cache; made if missing, mode 0700 */
    uint64_t disk_bytes;   /* evict above this */
    double free_ratio;     /* keep this share of the file system free, e.g. 0.1 */
    uint64_t memory_bytes; /* budget for blocks in memory, read-ahead included */
    unsigned max_fetches;  /* parallel fetches for read-ahead; 0: 16 */
};

MUST_CHECK enum rc block_cache_open(struct block_cache **out,
                                    const struct block_cache_options *options, struct err *e);
void block_cache_close(struct block_cache **cache);

/*
 * Copy len bytes at off of the block into out. sums as in volume_get_block; borrowed for the call.
 *
 * RC_NOT_FOUND  no store has the block (the caller reads the slice list again before giving up)
 * RC_CORRUPT    every copy is bad
 */
MUST_CHECK enum rc block_cache_read(struct block_cache *cache, struct block_id block,
                                    struct block_sums sums, uint32_t off, uint32_t len,
                                    uint8_t *out, uint64_t deadline_ms, struct err *e);

/* Begin to fetch a block that will be wanted soon; dropped silently when busy or over budget. */
void block_cache_prefetch(struct block_cache *cache, struct block_id block, struct block_sums sums);

/* A block we have just uploaded: keep it in the disk cache (best effort). */
void block_cache_keep(struct block_cache *cache, struct block_id block, const uint8_t *plain);

/*
 * Bring a block into the disk cache, if it is not there, and wait for it. Without a disk cache it
 * is only fetched and checked. Errors as block_cache_read().
 */
MUST_CHECK enum rc block_cache_warm(struct block_cache *cache, struct block_id block,
                                    struct block_sums sums, uint64_t deadline_ms, struct err *e);
/* In the disk cache? */
bool block_cache_has(struct block_cache *cache, struct block_id block);
/* Take a block out of the disk cache. */
void block_cache_evict(struct block_cache *cache, struct block_id block);

/* Bytes and blocks in the disk cache, for status and metrics. */
void block_cache_usage(struct block_cache *cache, uint64_t *bytes, uint64_t *blocks);

/* The memory budget, for whoever shares it; lives as long as the cache. */
struct memory *block_cache_memory(struct block_cache *cache);
/* Free blocks in memory that nobody uses now, as somebody else needs the budget. */
void block_cache_trim(struct block_cache *cache);

#endif
