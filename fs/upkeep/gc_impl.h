/*
 * gc_impl - what the parts of a garbage collection share. Private to fs/upkeep.
 */
#ifndef FS_UPKEEP_GC_IMPL_H
#define FS_UPKEEP_GC_IMPL_H

#include "fs/upkeep/gc.h"
#include "fs/upkeep/spill.h"

#define GC_BATCH 4096

/* A row of jfs_chunk_ref that was looked up. */
struct gc_known {
    int64_t id;
    uint32_t size;
    int32_t refs;
};

struct gc {
    /* set at start */
    struct volume *volume;
    struct meta *meta;
    struct store *store; /* the bucket of this site */
    const struct gc_options *options;
    struct gc_report *report;
    struct ledger_start start;
    int64_t newest_s; /* objects that are younger stay */

    int64_t *trash; /* slices that compaction replaced, ascending; NULL: none */
    size_t trash_count, trash_room;

    struct spill suspects; /* no row, or no block of its row */
    struct spill leaked;   /* those that no chunk names either */
};

/* Rows of these ids (each once, ascending) into out; *found of them, ascending. */
MUST_CHECK enum rc gc_look_up(struct gc *gc, const int64_t *ids, size_t count, struct gc_known *out,
                              size_t *found, struct err *e);
const struct gc_known *gc_find(const struct gc_known *known, size_t count, uint64_t id);
/* Is this object one of the blocks that a slice of size bytes has? */
bool gc_fits(const struct gc *gc, uint32_t size, struct block_id block);
/* Sort and make unique; the new count. */
size_t gc_unique(int64_t *ids, size_t count);

/* Slices with references chosen at random: proof that a listing was whole. */
#define GC_WITNESSES 64
struct gc_witness {
    struct gc_known slice;
    bool is_seen;
};
struct gc_witnesses {
    struct gc_witness all[GC_WITNESSES]; /* ascending */
    size_t count;
};
MUST_CHECK enum rc gc_witnesses_choose(struct gc *gc, struct gc_witnesses *w, struct err *e);
void gc_witnesses_see(struct gc_witnesses *w, struct block_id block);
/* RC_CORRUPT: one was not listed and is there all the same. */
MUST_CHECK enum rc gc_witnesses_check(struct gc *gc, const struct gc_witnesses *w, struct err *e);

/* Delete what waits for it, and compact every chunk: before the comparison. */
MUST_CHECK enum rc gc_purge(struct gc *gc, struct err *e);
MUST_CHECK enum rc gc_compact(struct gc *gc, struct err *e);

/* May anything be removed here at all? Before the listing. */
MUST_CHECK enum rc gc_may_delete(struct gc *gc, struct err *e);
/* From suspects to leaked, by a walk over all chunks. */
MUST_CHECK enum rc gc_confirm(struct gc *gc, struct err *e);
/* Remove what is leaked. */
MUST_CHECK enum rc gc_delete(struct gc *gc, struct err *e);

#endif
