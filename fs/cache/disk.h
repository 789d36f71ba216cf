/*
 * disk - the disk cache: a directory of verified blocks, bounded in bytes and in free space.
 *
 * Layout as a stock client's: <dir>/<uuid>/raw/<key>, the plaintext followed by a big-endian CRC32C
 * of every 32 KiB. A file gets its name only when it is complete; it is not synced, because the
 * sums tell after a power cut. Everything here can be fetched again: a directory that is full,
 * read-only or gone is bypassed, counted, and tried again later.
 *
 * Several mounts may share a directory: files never change and appear by rename. The one that
 * holds the lock on <dir>/<uuid>/lock owns the limits: it alone scans and evicts. The others read
 * and add, stop adding while the file system is short of space, and date the lock file so that the
 * owner scans again; whoever is left takes the lock over.
 *
 * Threads   any
 * Blocking  on the local disk
 */
#ifndef FS_CACHE_DISK_H
#define FS_CACHE_DISK_H

#include "fs/base/buf.h"
#include "fs/store/key.h"
#include "fs/volume/volume.h"

struct disk_cache;

struct disk_cache_options {
    const char *dir;  /* made if missing, mode 0700 */
    const char *uuid; /* of the volume */
    bool hash_prefix;
    uint32_t sum_bytes; /* plaintext under one block sum: meta_sum_bytes() */
    uint64_t max_bytes;
    double free_ratio; /* of the file system, to be left free; 0 … 1 */
};

/*
 * Touches the directory, no more: what is already there is found by disk_cache_tend(). A directory
 * that cannot be used is no failure; it is logged and tried again.
 */
MUST_CHECK enum rc disk_cache_open(struct disk_cache **out,
                                   const struct disk_cache_options *options, struct err *e);
void disk_cache_close(struct disk_cache **cache);

/* The work of the background, called by one worker each second: scan, evict, try again. */
void disk_cache_tend(struct disk_cache *cache);
/* Make a scan end early, before disk_cache_close(). */
void disk_cache_stop(struct disk_cache *cache);

/*
 * Copy len bytes at off of a block, reading and checking the 32 KiB pieces around them, and
 * holding the file's sums against the block's where there are any.
 * RC_NOT_FOUND: not cached, or it was bad and has been evicted.
 */
MUST_CHECK enum rc disk_cache_read(struct disk_cache *cache, struct block_id block,
                                   struct block_sums sums, uint32_t off, uint32_t len, uint8_t *out,
                                   struct err *e);
bool disk_cache_has(struct disk_cache *cache, struct block_id block);
/* Best effort: counts and logs (once a minute) what it cannot keep. */
void disk_cache_put(struct disk_cache *cache, struct block_id block, const uint8_t *plain);
void disk_cache_evict(struct disk_cache *cache, struct block_id block);
void disk_cache_usage(struct disk_cache *cache, uint64_t *bytes, uint64_t *blocks);

#endif
