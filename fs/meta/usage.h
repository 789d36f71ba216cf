/*
 * usage - the accounting that mutations leave to their client: gathered in memory, flushed each
 * second by one operation of a lane of its own, so that nothing is counted twice.
 *
 * A batch whose answer was lost stays as it is, with its lane and op, and is sent again before
 * anything else; only the end of its session makes it unknowable, and then it is dropped, loudly.
 *
 * Threads any · Blocking usage_flush() waits for PostgreSQL
 * Source  volume format §10
 */
#ifndef FS_META_USAGE_H
#define FS_META_USAGE_H

#include "fs/base/hash.h"
#include "fs/base/lock.h"
#include "fs/meta/lane.h"
#include "fs/meta/types.h"

struct meta;

/* What usage is counted for. In answers, and to the flush, all but directories are marked by the
 * negative number of their kind. */
enum usage_kind { USAGE_DIR, USAGE_USER, USAGE_GROUP, USAGE_QUOTA, USAGE_KINDS };

/* What is added up under one key: an inode, a uid or a gid. */
struct usage_sum {
    uint64_t key;
    int64_t length, space, inodes; /* length: of directories */
};

/* Sums ascending by key; the volume's own part goes with them. */
struct usage_batch {
    int64_t space, inodes;
    struct usage_sum *sums[USAGE_KINDS];
    size_t count[USAGE_KINDS];
};

struct usage {
    struct lock lock;
    int64_t space, inodes;              /* shared: not in the batch */
    struct map64 *pending[USAGE_KINDS]; /* shared: key → struct usage_sum */
    struct usage_batch batch;           /* shared; only the flusher changes it */
    bool is_flushing;                   /* shared */
    struct lane lane;                   /* the flusher's */
};

MUST_CHECK enum rc usage_init(struct usage *usage, struct err *e);
void usage_deinit(struct usage *usage);

/*
 * Take in what a mutation answered: {space, inodes} of the volume, then quadruples {directory,
 * length, space, entries}, {-1, uid, space, inodes}, {-2, gid, space, inodes} and {-3, directory
 * with a quota, space, entries}.
 */
void usage_add(struct usage *usage, const int64_t *deltas, size_t count);

/* A directory was removed, and its statistics with it: what is pending for it must not be counted
 * should it come back from the trash. */
void usage_forget(struct usage *usage, uint64_t dir);

void usage_pending(struct usage *usage, int64_t *space, int64_t *inodes);

/* Send everything gathered so far. On failure it is kept and sent with the next flush. */
MUST_CHECK enum rc usage_flush(struct usage *usage, struct meta *meta, struct err *e);

#endif
