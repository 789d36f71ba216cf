/*
 * compact - many small records of a chunk become one slice.
 *
 * The pieces are read and verified, the new slice is stored, and one transaction puts its record in
 * the place of the old ones, if they still are the first of the chunk; what was written meanwhile
 * stays behind it. Nothing that a reader sees changes. A compaction that is cut short at any point
 * leaves the chunk as it was, and objects that nothing names, which are removed by the upkeep or
 * found by gc. Two at once on a chunk are harmless: one of them is for nothing.
 *
 * Threads   any
 * Blocking  on PostgreSQL and the object store; memory for two blocks
 * Source    volume format §7.8
 */
#ifndef FS_UPKEEP_COMPACT_H
#define FS_UPKEEP_COMPACT_H

#include "fs/volume/volume.h"

enum compact_outcome {
    COMPACT_NOTHING, /* fewer than two records to put together */
    COMPACT_DONE,
    COMPACT_WASTED, /* the chunk was changed meanwhile: try again, if it matters */
};

struct compact_result {
    enum compact_outcome outcome;
    uint32_t records; /* of the chunk before, and the records put together */
    uint32_t replaced;
    uint32_t size; /* bytes of the new slice */
};

/*
 * Compact chunk indx of inode ino once: at most its first 1000 records.
 *
 * RC_NOT_FOUND  a block is missing: somebody else was quicker, or the volume is damaged
 * RC_CORRUPT    a block or the chunk is damaged; it is left as it is
 * RC_TIMEOUT    it took so long that the new slice could not be committed any more
 */
MUST_CHECK enum rc compact_chunk(struct volume *volume, ino_num ino, uint32_t indx,
                                 struct compact_result *out, struct err *e);

/*
 * Compact until there is nothing left to put together, also after wasted rounds, some times. The
 * counts of *out are added up.
 */
MUST_CHECK enum rc compact_whole_chunk(struct volume *volume, ino_num ino, uint32_t indx,
                                       struct compact_result *out, struct err *e);

#endif
