/*
 * namespace - the names of a volume: one verb, one SQL function, one exchange.
 *
 * A POSIX refusal is RC_REFUSED with the errno in err.posix. Anything else is a failure of ours or
 * below us. Names are 1–255 bytes without '/' and NUL; others are refused with EINVAL or
 * ENAMETOOLONG before anything is sent.
 *
 * Threads any · Blocking waits for PostgreSQL
 */
#ifndef FS_META_NAMESPACE_H
#define FS_META_NAMESPACE_H

#include "fs/meta/meta.h"

MUST_CHECK enum rc meta_lookup(struct meta *meta, ino_num parent, struct bytes name,
                               struct node_attr *out, struct err *e);

/* Walk path ("a/b/c", "." and ".." understood, no symlinks followed) from root. */
MUST_CHECK enum rc meta_resolve(struct meta *meta, ino_num root, struct bytes path,
                                struct node_attr *out, struct err *e);

/*
 * A page of a directory in byte order of names: at most *count entries after the name `after`
 * (empty: from the start). *count becomes the number given; fewer than asked means the end.
 */
MUST_CHECK enum rc meta_readdir(struct meta *meta, ino_num dir, struct bytes after, bool with_attr,
                                struct dir_entry *out, uint32_t *count, struct err *e);

struct meta_create {
    ino_num parent;
    struct bytes name;
    enum node_type type;
    uint32_t mode, umask, uid, gid, rdev;
    struct bytes target; /* of a symlink */
};
/* EEXIST also fills *out with what is there. */
MUST_CHECK enum rc meta_create(struct meta *meta, const struct meta_create *what,
                               struct node_attr *out, struct err *e);

/*
 * The same of a file without a name (what->name and target mean nothing): it lasts until
 * meta_release() or the end of the session, unless meta_link() gives it a name before.
 */
MUST_CHECK enum rc meta_tmpfile(struct meta *meta, const struct meta_create *what,
                                struct node_attr *out, struct err *e);

/*
 * Remove a name. opened/opened_count: inodes that this mount has open, so that the last link of one
 * of them is kept until meta_release(). *out is the inode as it is now (nlink 0: gone).
 */
MUST_CHECK enum rc meta_unlink(struct meta *meta, ino_num parent, struct bytes name,
                               const ino_num *opened, size_t opened_count, uint32_t uid,
                               struct node_attr *out, struct err *e);
MUST_CHECK enum rc meta_rmdir(struct meta *meta, ino_num parent, struct bytes name, uint32_t uid,
                              struct node_attr *out, struct err *e);

/* flags: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4 (the last: EINVAL). */
MUST_CHECK enum rc meta_rename(struct meta *meta, ino_num parent, struct bytes name,
                               ino_num new_parent, struct bytes new_name, uint32_t flags,
                               const ino_num *opened, size_t opened_count, uint32_t uid,
                               struct node_attr *out, struct err *e);
MUST_CHECK enum rc meta_link(struct meta *meta, ino_num ino, ino_num parent, struct bytes name,
                             struct node_attr *out, struct err *e);
/* Append the target to out. */
MUST_CHECK enum rc meta_readlink(struct meta *meta, ino_num ino, struct buf *out, struct err *e);

#endif
