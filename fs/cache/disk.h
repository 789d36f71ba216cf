/*
 * disk - the disk cache: a directory of verified blocks, bounded in bytes and in free space.
 *
 * Layout as a stock client's: <dir>/<uuid>/raw/<key>, the plaintext followed by a big-endian CRC32C
 * of every 32 KiB. A file gets its name only when it is complete. Everything here can be fetched
 * again: a directory that is full, read-only or gone is bypassed, counted, and tried again later.
 *
 * Threads   any
 * Blocking  on the local disk
 */
#ifndef FS_CACHE_DISK_H
#define FS_CACHE_DISK_H

#include "fs/store/key.h"
#include "fs/base/buf.h"

struct disk_cache;

struct disk_cache_options {
    const char *dir;
    const char *uuid;
    bool hash_prefix;
    uint64_t max_bytes;
    double free_ratio;
};

/* Opens at once; what is already there is found by a scan in the background. */
MUST_CHECK enum rc disk_cache_open(struct disk_cache **out,
                                   const struct disk_cache_options *options, struct err *e);
void disk_cache_close(struct disk_cache **cache);

/*
 * Copy len bytes at off of a block, reading and checking the 32 KiB pieces around them.
 * RC_NOT_FOUND: not cached, or it was bad and has been evicted.
 */
MUST_CHECK enum rc disk_cache_read(struct disk_cache *cache, struct block_id block, uint32_t off,
                                   uint32_t len, uint8_t *out, struct err *e);
bool disk_cache_has(struct disk_cache *cache, struct block_id block);
/* Best effort: counts and logs (once a minute) what it cannot keep. */
void disk_cache_put(struct disk_cache *cache, struct block_id block, const uint8_t *plain);
void disk_cache_evict(struct disk_cache *cache, struct block_id block);
void disk_cache_usage(struct disk_cache *cache, uint64_t *bytes, uint64_t *blocks);

#endif
