/*
 * load - a volume made of a dump: rows in, everything that follows from them at the end.
 *
 * One transaction from load_open() to load_finish(). What dies in between, or load_close(), leaves
 * the database as it was: empty.
 *
 * Threads   as struct pg
 * Blocking  waits for PostgreSQL
 */
#ifndef FS_META_LOAD_H
#define FS_META_LOAD_H

#include "fs/base/buf.h"
#include "fs/meta/pg.h"
#include "fs/meta/types.h"

struct load;

/* RC_EXISTS: the database is not empty. *pg must outlive the load. */
MUST_CHECK enum rc load_open(struct load **out, struct pg *pg, struct err *e);

/* An inode, with an empty rule where it has none (format §11). One that was added before, by
 * another of its names, is left as it is; links are counted at the end. */
struct load_node {
    struct node_attr attr;
    struct bytes access_acl, default_acl;
};
MUST_CHECK enum rc load_node(struct load *load, const struct load_node *node, struct err *e);
MUST_CHECK enum rc load_edge(struct load *load, ino_num parent, struct bytes name, ino_num ino,
                             enum node_type type, struct err *e);
/* The records of a chunk (format §7.1). */
MUST_CHECK enum rc load_chunk(struct load *load, ino_num ino, uint32_t indx, struct bytes records,
                              struct err *e);
MUST_CHECK enum rc load_symlink(struct load *load, ino_num ino, struct bytes target, struct err *e);
MUST_CHECK enum rc load_xattr(struct load *load, ino_num ino, struct bytes name, struct bytes value,
                              struct err *e);
MUST_CHECK enum rc load_delfile(struct load *load, ino_num ino, int64_t length, int64_t expire_s,
                                struct err *e);
/* type as of jfs_user_group_quota, 0 for a directory. */
MUST_CHECK enum rc load_quota(struct load *load, int type, int64_t key, int64_t max_space,
                              int64_t max_inodes, struct err *e);

/* Commit, with this format row and the dump's counters as JSON. RC_CORRUPT: it is no volume. */
MUST_CHECK enum rc load_finish(struct load *load, const char *format, const char *counters,
                               uint64_t *nodes, struct err *e);
/* Roll back what was not finished. */
void load_close(struct load **load);

#endif
