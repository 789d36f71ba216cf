/*
 * handles - cached block files that are open now, with their trailers read.
 *
 * A sequential reader asks for the same 4 MiB block dozens of times; opening the file and reading
 * its sums each time would cost half as much as the data. A handle may be used while others use
 * it, and outlives the file's name.
 *
 * Threads   any, between open and close
 * Blocking  on the local disk
 */
#ifndef FS_CACHE_HANDLES_H
#define FS_CACHE_HANDLES_H

#include <stdbool.h>

#include "fs/store/key.h"
#include "fs/volume/volume.h"

struct handles;

struct handle {
    struct block_id block;
    int fd;
    uint8_t *trailer;
    /* the rest is the table's */
    bool is_agreed; /* the trailer has been held against the block's own sums */
    bool is_dropped;
    unsigned users;
    uint64_t used_ms;
};

MUST_CHECK enum rc handles_open(struct handles **out, uint32_t sum_bytes, struct err *e);
void handles_close(struct handles **handles);

/*
 * The file of a block, opened from path unless it is open. *out is the caller's until
 * handles_put(). sums may be {NULL, 0}.
 *
 * RC_NOT_FOUND  there is no such file
 * RC_CORRUPT    its length is wrong, or its sums are not those of this block
 */
MUST_CHECK enum rc handles_get(struct handles *handles, struct block_id block,
                               struct block_sums sums, const char *path, struct handle **out,
                               struct err *e);
void handles_put(struct handles *handles, struct handle *handle);

/* Forget a block whose file is going away; who uses it now may go on. */
void handles_drop(struct handles *handles, struct block_id block);
/* Close what nobody has used for a few seconds; called each second. */
void handles_expire(struct handles *handles);

#endif
