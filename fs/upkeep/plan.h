/*
 * plan - what the compaction of a chunk would do: which records stay, and what the new slice holds.
 *
 * Records at the head that are large, whole and still on top stay as they are, because to copy them
 * would cost more than it gains; the rest become one slice, from its first byte of data to its
 * last.
 *
 * Threads any · Blocking never
 * Source  volume format §7.8; stock clients choose alike
 */
#ifndef FS_UPKEEP_PLAN_H
#define FS_UPKEEP_PLAN_H

#include "fs/meta/slice.h"

/* More records than this are compacted in several rounds. */
#define PLAN_RECORDS_MAX 1000

struct plan {
    uint32_t skipped;        /* records at the head that stay */
    uint32_t replaced;       /* records that one takes the place of; below 2: nothing to do */
    uint32_t pos, size;      /* of the new slice in the chunk */
    struct chunk_view *view; /* of the replaced records; it has the sums */
    uint32_t first, count;   /* its extents that the slice is made of, holes in between included */
};

/*
 * Plan for the packed records and sums, as tarn_1.chunk_records answers them. *out is the caller's
 * to deinit.
 *
 * RC_CORRUPT  as chunk_view_new()
 */
MUST_CHECK enum rc plan_make(struct plan *out, uint32_t indx, struct bytes records,
                             struct bytes sums, struct err *e);
void plan_deinit(struct plan *plan);
#define auto_plan __attribute__((cleanup(plan_deinit)))

#endif
