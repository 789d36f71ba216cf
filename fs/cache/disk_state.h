/*
 * disk_state - what disk.c (reads and puts) and disk_tend.c (scan, eviction, ownership) share.
 */
#ifndef FS_CACHE_DISK_STATE_H
#define FS_CACHE_DISK_STATE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "fs/base/lock.h"
#include "fs/cache/disk.h"
#include "fs/cache/handles.h"
#include "fs/cache/index.h"

#define DISK_PATH_BYTES 4096

struct disk_cache {
    /* set at open */
    char *root; /* <dir>/<uuid> */
    bool hash_prefix;
    uint64_t max_bytes;
    double free_ratio;
    struct handles *handles;

    _Atomic bool is_stopping;
    _Atomic bool is_short;               /* the file system has too little space left */
    _Atomic bool is_owner;               /* we hold the lock: we evict */
    _Atomic bool has_added;              /* since the last tend, for the owner to know */
    _Atomic uint64_t no_reads_until_ms;  /* after an I/O error */
    _Atomic uint64_t no_writes_until_ms; /* after a failed put; 0: all is well */
    _Atomic uint64_t logged_ms;
    _Atomic uint64_t next_temp;

    /* of the tending worker */
    int lock_fd;
    struct timespec scanned; /* date of the lock file at the last scan */

    struct lock lock; /* guards the index */
    struct block_index *index;
};

/* Make the directories that are missing, ours alone. */
MUST_CHECK enum rc disk_prepare(struct disk_cache *cache, struct err *e);
/* Bypass the directory for a while; log it unless we did a minute ago. */
void disk_bypass(struct disk_cache *cache, bool for_reads, const struct err *e);
/* Evict until `wanted` more bytes fit into max_bytes, at most `limit` blocks. */
void disk_make_room(struct disk_cache *cache, uint64_t wanted, unsigned limit);

#endif
