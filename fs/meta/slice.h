/*
 * slice - the codec of slice records and sums, and the overlay that turns records into extents.
 *
 * No I/O: bytes in, structures out. Every input is hostile until it has been checked.
 *
 * Threads any · Blocking never
 * Source  volume format §7; block sums: design §5
 */
#ifndef FS_META_SLICE_H
#define FS_META_SLICE_H

#include "fs/base/err.h"
#include "fs/meta/types.h"

/* A gap-free run of a chunk after overlay: len bytes at pos come from off in slice id (0: zeros).
 */
struct extent {
    uint32_t pos;
    uint32_t len;
    uint64_t id;
    uint32_t size;
    uint32_t off;
};

/*
 * One chunk as it is read: extents from 0 to the end of the last record, and the sums of the
 * slices they name. Immutable and shared by reference count, so that a reader may go on while a
 * writer replaces it.
 */
struct chunk_view {
    uint32_t indx;
    uint32_t record_count; /* before the overlay; compaction's measure */
    uint32_t extent_count;
    const struct extent *extents; /* ascending, adjacent, covering [0, covered) */
    uint32_t covered;
    uint32_t sums_count;
    const struct slice_sums *sums; /* ascending id */
};

/*
 * Build a view of chunk indx from the packed records and the packed sums (the columns slices and
 * sums that tarn_1.open and tarn_1.slices answer; see schema/api/30_file.sql). *out starts with
 * one reference.
 *
 * RC_CORRUPT  records are not a multiple of 24 bytes or break a bound of §7.1
 */
MUST_CHECK enum rc chunk_view_new(uint32_t indx, struct bytes records, struct bytes sums,
                                  struct chunk_view **out, struct err *e);
struct chunk_view *chunk_view_ref(struct chunk_view *view);
/* Drop one reference. Sets *view to NULL; NULL is ignored. */
void chunk_view_unref(struct chunk_view **view);

/* The sums of slice id, or NULL. */
const struct slice_sums *chunk_view_sums(const struct chunk_view *view, uint64_t id);

/* Encode one record in its 24 bytes. */
void slice_record_put(uint8_t out[24], const struct slice_record *record);

#endif
