/*
 * copy - copying between files without moving a byte, and finding the next data of a file: one
 * verb, one exchange.
 *
 * Threads any · Blocking waits for PostgreSQL
 * Source  volume format §7.6
 */
#ifndef FS_META_COPY_H
#define FS_META_COPY_H

#include "fs/meta/meta.h"

struct meta_copy {
    ino_num from, to;
    uint64_t from_off, to_off, len;
    bool kill_suid; /* the copy is made by another than root */
};

/*
 * Make len bytes of one file show in another, or elsewhere in the same. *copied may be less: the
 * source ends there, or the rest is for another call. *out are the attributes of the destination.
 *
 * RC_REFUSED  EINVAL: the ranges overlap, or one is no file; EPERM: immutable or append-only
 */
MUST_CHECK enum rc meta_copy_range(struct meta *meta, const struct meta_copy *what,
                                   uint64_t *copied, struct node_attr *out, struct err *e);

/*
 * The first chunk from indx on that is not just a hole, as far as its records tell; chunk_none when
 * there is none.
 */
extern const uint64_t chunk_none;
MUST_CHECK enum rc meta_next_chunk(struct meta *meta, ino_num ino, uint64_t indx, uint64_t *out,
                                   struct err *e);

#endif
