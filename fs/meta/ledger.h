/*
 * ledger - what the metadata says of slices, for those who check all of them: pages of chunk rows
 * and of reference counts, look-ups by id, exact counts.
 *
 * Pages are read by key, each in a snapshot of its own, so that memory stays bounded and no
 * transaction stays open however long the walk takes.
 *
 * Threads   any
 * Blocking  waits for PostgreSQL; ledger_count_refs() and ledger_repair_refs() scan every chunk row
 * Source    volume format §7; schema/api/73_ledger.sql, 72_repair.sql
 */
#ifndef FS_META_LEDGER_H
#define FS_META_LEDGER_H

#include "fs/meta/meta.h"

/* Where a garbage collection begins; see tarn_1.gc_begin(). */
struct ledger_start {
    uint64_t next_slice; /* whatever is at or above it was handed out later */
    uint64_t sessions;   /* who may still commit a lower one */
    uint64_t mirrors;
};
MUST_CHECK enum rc ledger_begin(struct meta *meta, struct ledger_start *out, struct err *e);

/* The database's side of tarn/epoch. RC_INVALID: this database is no primary. */
struct ledger_epoch {
    int64_t epoch, timeline, next_chunk;
    char system_identifier[32];
};
MUST_CHECK enum rc ledger_epoch(struct meta *meta, struct ledger_epoch *out, struct err *e);

/* What waits to be deleted. */
struct ledger_waiting {
    uint64_t delfiles, delfile_bytes;
    uint64_t delslices, delslice_bytes; /* slices that compaction replaced */
    uint64_t pending, pending_bytes;    /* slices without references */
    uint64_t detached, trash;           /* halves of clones; entries of the trash */
};
MUST_CHECK enum rc ledger_waiting(struct meta *meta, struct ledger_waiting *out, struct err *e);

struct ledger_slice {
    uint64_t id;
    uint32_t size;
    int32_t refs;
    struct bytes sums; /* packed; none when empty or not asked for; borrowed for the visit */
};
typedef enum rc (*ledger_slice_visit)(const struct ledger_slice *slice, void *arg, struct err *e);

/* Those of the ids that have a row, in no order. */
MUST_CHECK enum rc ledger_find(struct meta *meta, const int64_t *ids, size_t count,
                               ledger_slice_visit visit, void *arg, struct err *e);

/* Rows with after < id < before in order, at most limit; *count of them. */
struct ledger_range {
    uint64_t after, before; /* before: at most INT64_MAX */
    uint32_t limit;
    bool with_sums;
};
MUST_CHECK enum rc ledger_slices(struct meta *meta, const struct ledger_range *range,
                                 ledger_slice_visit visit, void *arg, uint32_t *count,
                                 struct err *e);

/* A row of jfs_chunk. */
struct ledger_chunk {
    int64_t id; /* of the row: the order of pages */
    ino_num ino;
    int32_t indx;
    struct bytes records; /* as stored; borrowed for the visit */
    bool has_node, is_deleted;
};
typedef enum rc (*ledger_chunk_visit)(const struct ledger_chunk *chunk, void *arg, struct err *e);

/*
 * Every chunk row behind *after, or of the inodes `only` alone (NULL: all): one page. *after moves
 * on; *is_end says that there are no more.
 */
MUST_CHECK enum rc ledger_chunks(struct meta *meta, const int64_t *only, size_t only_count,
                                 int64_t *after, bool *is_end, ledger_chunk_visit visit, void *arg,
                                 struct err *e);

/* The same over rows of jfs_delslices: packed entries of twelve bytes. */
typedef enum rc (*ledger_packed_visit)(struct bytes entries, void *arg, struct err *e);
MUST_CHECK enum rc ledger_delslices(struct meta *meta, uint64_t *after, bool *is_end,
                                    ledger_packed_visit visit, void *arg, struct err *e);

/* How often a slice is named, in one snapshot with its row. */
struct ledger_count {
    uint64_t id;
    bool has_row;
    uint32_t size, named_size; /* by the row, by the records (0: none) */
    int64_t refs, named;
};
typedef enum rc (*ledger_count_visit)(const struct ledger_count *count, void *arg, struct err *e);
MUST_CHECK enum rc ledger_count_refs(struct meta *meta, const int64_t *ids, size_t count,
                                     ledger_count_visit visit, void *arg, struct err *e);

/* Set the counts right, under their locks. */
MUST_CHECK enum rc ledger_repair_refs(struct meta *meta, const int64_t *ids, size_t count,
                                      bool *done, struct err *e);

/* Keep the sums of a slice that has none. */
MUST_CHECK enum rc ledger_add_sums(struct meta *meta, uint64_t slice, uint32_t size,
                                   struct bytes sums, struct err *e);

/* Where the log stands: what was committed before is before it. */
#define LEDGER_POSITION_BYTES 32
MUST_CHECK enum rc ledger_position(struct meta *meta, char out[LEDGER_POSITION_BYTES],
                                   struct err *e);
/* Mirrors that have not confirmed a position: how many, and the name of the first. */
MUST_CHECK enum rc ledger_mirrors_behind(struct meta *meta, const char *position, uint64_t *count,
                                         char first[64], struct err *e);

#endif
