/*
 * readahead - what a handle will read next, judged by what it has read.
 *
 *   sequential  the window ahead doubles with every window's worth read, up to the limit
 *   strided     the same distance twice: the next place
 *   random      nothing
 *
 * The kernel's own read-ahead sends requests that overtake each other, so "sequential" means near
 * the expected place, not at it.
 *
 * Threads   the caller's to lock · Blocking never
 */
#ifndef FS_VFS_READAHEAD_H
#define FS_VFS_READAHEAD_H

#include <stdint.h>

struct readahead {
    uint64_t expected;   /* the furthest end of a read so far */
    uint64_t window;     /* 0: not sequential (yet) */
    uint64_t run;        /* bytes read since the window last grew */
    uint64_t planned_to; /* what has been asked for already */
    uint64_t last_off;
    uint64_t stride;
    unsigned reads;
};

struct readahead_plan {
    uint64_t from, to; /* from == to: nothing */
};

struct readahead_limits {
    uint64_t first_bytes; /* the first window */
    uint64_t max_bytes;   /* 0: no read-ahead */
};

/* Take note of a read and say what to fetch. */
struct readahead_plan readahead_note(struct readahead *r, uint64_t off, uint64_t size,
                                     struct readahead_limits limits);

#endif
