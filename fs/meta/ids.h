/*
 * ids - ranges of numbers that are handed out once: inodes and slices.
 *
 * A range is taken from its counter in one exchange and used up from memory; what is left at the
 * end is lost, because a number must never be given twice.
 *
 * Threads any · Blocking when the range is used up: one caller refills it, the others wait
 */
#ifndef FS_META_IDS_H
#define FS_META_IDS_H

#include "fs/base/lock.h"
#include "fs/meta/types.h"

struct meta;

struct id_range {
    const char *counter; /* set at open: row of jfs_counter */
    int64_t step;        /* set at open: numbers taken at a time */
    struct lock lock;
    struct lock_cond refilled;
    uint64_t next, end; /* shared */
    bool is_refilling;  /* shared */
};

void id_range_init(struct id_range *range, const char *counter, int64_t step);
void id_range_deinit(struct id_range *range);
MUST_CHECK enum rc id_range_next(struct id_range *range, struct meta *meta, uint64_t *out,
                                 struct err *e);

#endif
