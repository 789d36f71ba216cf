/*
 * inspect - what tools ask of a volume's metadata: sessions, sums over a tree.
 *
 * Threads any · Blocking waits for PostgreSQL
 */
#ifndef FS_META_INSPECT_H
#define FS_META_INSPECT_H

#include "fs/meta/meta.h"

struct meta_session_row {
    uint64_t sid;
    int64_t expire_s; /* wall clock of the database */
    bool is_stale;
    struct bytes info; /* JSON of format §9, borrowed for the visit */
};
typedef void (*meta_session_visit)(const struct meta_session_row *session, void *arg);
MUST_CHECK enum rc meta_sessions(struct meta *meta, meta_session_visit visit, void *arg,
                                 struct err *e);

/* Sums over an inode and what is below it: its children, or (recursive) the whole tree. */
struct meta_summary {
    uint64_t files, dirs, length, space;
};
MUST_CHECK enum rc meta_summary(struct meta *meta, ino_num ino, bool is_recursive,
                                struct meta_summary *out, struct err *e);

/* Append one path of an inode from the root, "/a/b". ENOENT when none leads to it. */
MUST_CHECK enum rc meta_path(struct meta *meta, ino_num ino, struct buf *out, struct err *e);
/* The same for showing: "inode:7" when none can be found. */
MUST_CHECK enum rc meta_path_shown(struct meta *meta, ino_num ino, struct buf *out, struct err *e);

/* Slices in use, and those of them that carry no sum. Scans the table of slices. */
MUST_CHECK enum rc meta_count_unsummed(struct meta *meta, uint64_t *slices, uint64_t *without_sum,
                                       struct err *e);

#endif
