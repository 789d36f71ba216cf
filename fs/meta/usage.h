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

/* What is added up under one key: a directory, or an owner. */
struct usage_sum {
    uint64_t key; /* inode; or uid << 32 | gid */
    int64_t length, space, inodes;
};

/* Sums ascending by key; the volume's own part goes with them. */
struct usage_batch {
    int64_t space, inodes;
    struct usage_sum *dirs, *owners;
    size_t dir_count, owner_count;
};

struct usage {
    struct lock lock;
    int64_t space, inodes;       /* shared: not in the batch */
    struct map64 *dirs, *owners; /* shared: key → struct usage_sum */
    struct usage_batch batch;    /* shared; only the flusher changes it */
    bool is_flushing;            /* shared */
    struct lane lane;            /* the flusher's */
};

MUST_CHECK enum rc usage_init(struct usage *usage, struct err *e);
void usage_deinit(struct usage *usage);

/*
 * Take in what a mutation answered: {space, inodes, then for each directory: inode, length, space,
 * entries}. owner: whom the volume's part belongs to, for user and group quotas; NULL: nobody.
 */
void usage_add(struct usage *usage, const int64_t *deltas, size_t count,
               const struct node_attr *owner);

void usage_pending(struct usage *usage, int64_t *space, int64_t *inodes);

/* Send everything gathered so far. On failure it is kept and sent with the next flush. */
MUST_CHECK enum rc usage_flush(struct usage *usage, struct meta *meta, struct err *e);

#endif
