/*
 * fsck - is everything that the metadata promises there, and does the metadata agree with itself?
 *
 * Four parts: names, nodes and accounts (fs/meta/flaw.h); the records of files; the reference
 * counts of slices against the records; the blocks of slices against the bucket. All are walked in
 * pages with bounded memory, beside active writers: what one look finds is looked at again before
 * it is reported, and what is counted lazily only when it has stood still.
 *
 * Repairs are made under the locks of what they mend, and look again there. What has lost its
 * place, or goes around in a circle, is moved to the directory /.tarn-lost under its number. Data
 * are never deleted; a malformed chunk and a lost block cannot be repaired.
 *
 * Threads   one run, one caller; blocks are read by several threads inside, and visit is called by
 *           the caller's thread
 * Blocking  minutes to hours
 * Source    volume format §14, §15.1
 */
#ifndef FS_UPKEEP_FSCK_H
#define FS_UPKEEP_FSCK_H

#include "fs/volume/volume.h"

struct fsck_options {
    ino_num top;       /* 0: the whole volume; else this inode, and what is below it */
    bool is_recursive; /* with top: the whole tree, not only its direct children */
    bool repairs;
    bool syncs_stats;   /* count directories without statistics too, and correct all accounts */
    bool checks_sums;   /* read every block */
    struct store *only; /* nothing but the blocks of slices, and in this store alone; NULL: all */
    unsigned threads;
    uint64_t
        settle_ms; /* accounts that differ must stand still for so long; clients flush at 1 s */
};

struct fsck_problem {
    const char *kind; /* "nlink", "cycle", "lost block", …; those of ops/docs/runbook.md */
    ino_num ino;      /* 0: none */
    uint64_t slice;   /* 0: none */
    int64_t have, want;
    const char *text; /* the sentence */
    bool is_repaired;
};
typedef void (*fsck_visit)(const struct fsck_problem *problem, void *arg);

struct fsck_report {
    uint64_t slices, slice_bytes;
    uint64_t blocks, block_bytes; /* found */
    uint64_t lost_blocks, lost_bytes;
    uint64_t broken_files;
    uint64_t unsummed, summed; /* slices without a sum; those that were given one */
    uint64_t filled_stats;     /* directories that were counted for the first time */
    uint64_t problems, repaired;
};

MUST_CHECK enum rc fsck_run(struct volume *volume, const struct fsck_options *options,
                            fsck_visit visit, void *arg, struct fsck_report *report, struct err *e);

#endif
