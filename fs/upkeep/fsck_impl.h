/*
 * fsck_impl - what the parts of a check share. Private to fs/upkeep.
 */
#ifndef FS_UPKEEP_FSCK_IMPL_H
#define FS_UPKEEP_FSCK_IMPL_H

#include "fs/base/lock.h"
#include "fs/meta/flaw.h"
#include "fs/meta/ledger.h"
#include "fs/upkeep/fsck.h"

struct fsck {
    /* set at start */
    struct volume *volume;
    struct meta *meta;
    struct store *store; /* the bucket of this site, which is listed */
    struct store *chain; /* where a block may be as well: at a mirror it is on its way */
    const struct fsck_options *options;
    bool has_exact_sizes; /* blocks are stored as they are: neither packed nor encrypted */

    fsck_visit visit;
    void *arg;

    /* shared, under lock while slices are checked in parallel */
    struct lock lock;
    struct fsck_report *report;
    struct fsck_later *later; /* problems found by other threads, in no order */
    int64_t *lost;            /* slices with blocks that are lost or bad */
    size_t lost_count, lost_room;
};

/* A problem of a slice that waits for the caller's thread. */
struct fsck_later {
    struct fsck_later *next;
    const char *kind;
    uint64_t slice;
    char text[ERR_TEXT_BYTES];
};

/* Count and show; the caller's thread. */
void fsck_tell(struct fsck *f, const struct fsck_problem *problem);
/*
 * From any thread: a slice has a block that is lost or bad. It is told by the next
 * fsck_tell_rest(), and its files are named at the end.
 */
void fsck_tell_later(struct fsck *f, const char *kind, uint64_t slice, const char *text);
void fsck_tell_rest(struct fsck *f);

/* A check over the whole volume, or over some keys of it. */
MUST_CHECK enum rc fsck_flaws(struct fsck *f, enum flaw_check check, const int64_t *only,
                              size_t count, struct err *e);
/* The records of all files, or of some inodes. */
MUST_CHECK enum rc fsck_chunks(struct fsck *f, const int64_t *only, size_t count, struct err *e);
/* Reference counts of all slices. */
MUST_CHECK enum rc fsck_refs(struct fsck *f, struct err *e);
/* Blocks of all slices, by listing; of the slices that some inodes name, one by one. */
MUST_CHECK enum rc fsck_blocks(struct fsck *f, struct err *e);
MUST_CHECK enum rc fsck_blocks_of(struct fsck *f, const int64_t *inos, size_t count, struct err *e);
/* Name the files of the slices that were lost. */
MUST_CHECK enum rc fsck_broken_files(struct fsck *f, struct err *e);

/* A slice to check. */
struct fsck_slice {
    uint64_t id;
    uint32_t size;
};
/* Read every block of a slice; bad ones are told. */
MUST_CHECK enum rc fsck_read_slice(struct fsck *f, const struct fsck_slice *slice, struct err *e);

#endif
