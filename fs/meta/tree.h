/*
 * tree - verbs over whole trees: each call does one page of one directory, so that no transaction
 * grows with the tree. Who walks the tree is the caller (fs/vfs/tree.h).
 *
 * The calls check the permissions of the caller themselves, for they come through .control, where
 * the kernel has checked none.
 *
 * Threads   any · Blocking waits for PostgreSQL
 * Source    volume format §4, §7.6, §13; schema/api/61_tree.sql, 62_clone.sql
 */
#ifndef FS_META_TREE_H
#define FS_META_TREE_H

#include "fs/meta/meta.h"

/* On whose behalf; gids[0] is the primary group, and there is at least that one. */
struct meta_caller {
    uint32_t uid;
    const uint32_t *gids;
    size_t gid_count;
};

/*
 * Whether who comes to ino on any path that begins at root. EACCES: only through directories that
 * he must not search; ENOENT: on none.
 */
MUST_CHECK enum rc meta_reach(struct meta *meta, ino_num ino, ino_num root,
                              const struct meta_caller *who, struct err *e);

/* Directories that a call tells of. The owner frees inos. */
struct meta_dirs {
    ino_num *inos;
    size_t count;
};

enum rmr_mode {
    RMR_SKIP_TRASH = 1, /* root alone may */
    RMR_DETACHED = 2,   /* half of a clone: nobody's permissions count */
};

struct meta_rmr {
    ino_num parent, dir;   /* parent 0: dir is the top of a detached tree */
    uint32_t limit;        /* names at most, not 0 */
    int mode;              /* enum rmr_mode */
    const ino_num *opened; /* inodes that this mount has open */
    size_t opened_count;
};

/*
 * Remove the files among the first names of a directory and, when nothing is left, the directory.
 * *removed counts names. *dirs: what must be removed before this one can go on; the caller frees
 * it. *is_gone: there is nothing more to do here.
 *
 * ENOENT  the directory is gone or was moved elsewhere
 */
MUST_CHECK enum rc meta_rmr(struct meta *meta, const struct meta_rmr *what,
                            const struct meta_caller *who, uint64_t *removed, bool *is_gone,
                            struct meta_dirs *dirs, struct err *e);

/* Remove one name that is no directory (EISDIR). out->nlink 0: it was the last. */
MUST_CHECK enum rc meta_rmr_file(struct meta *meta, const struct meta_rmr *what, struct bytes name,
                                 const struct meta_caller *who, struct node_attr *out,
                                 struct err *e);

enum clone_mode { CLONE_PRESERVE = 2 }; /* keep owner, mode and times */

struct meta_clone {
    ino_num src, parent;
    struct bytes name;
    int mode; /* enum clone_mode */
    uint32_t umask;
    uint64_t space, inodes; /* what the whole tree takes: checked against quotas and capacity */
};

/*
 * Begin a clone. A file is cloned with this; of a directory there is then an empty one that hangs
 * nowhere, to be filled by meta_clone_entries() and given its name by meta_attach(). What is left
 * of one that failed goes by meta_rmr() with RMR_DETACHED.
 *
 * EEXIST, EACCES, EPERM, EINVAL (into itself), ENOSPC, EDQUOT
 */
MUST_CHECK enum rc meta_clone(struct meta *meta, const struct meta_clone *what,
                              const struct meta_caller *who, struct node_attr *out, struct err *e);

/* Where the clone of one directory's entries stands. Zeros at first. */
struct meta_clone_at {
    uint8_t name[META_NAME_MAX];
    size_t name_size;
    bool is_done;
};

/*
 * Clone one page of directory src into dst. *made counts entries. *dirs: sources and their clones
 * in turn, to go on with; the caller frees it.
 */
MUST_CHECK enum rc meta_clone_entries(struct meta *meta, ino_num src, ino_num dst,
                                      const struct meta_clone *what, const struct meta_caller *who,
                                      struct meta_clone_at *at, uint64_t *made,
                                      struct meta_dirs *dirs, struct err *e);
/* Give a detached tree its name. EEXIST; ENOENT when a cleaner took the tree or parent is gone. */
MUST_CHECK enum rc meta_attach(struct meta *meta, ino_num ino, ino_num parent, struct bytes name,
                               struct err *e);

/* What is directly in a directory; children are its directories, borrowed for the visit. */
struct meta_sums {
    ino_num dir;
    uint64_t files, dirs, length, space;
    const ino_num *children;
    size_t child_count;
};
typedef enum rc (*meta_sums_visit)(const struct meta_sums *sums, void *arg, struct err *e);
/*
 * Sums of each directory, in one exchange: from the volume's statistics where it keeps them, unless
 * is_strict. A directory that is gone is left out.
 */
MUST_CHECK enum rc meta_tree_sums(struct meta *meta, const ino_num *dirs, size_t count,
                                  bool is_strict, meta_sums_visit visit, void *arg, struct err *e);

/* Every path of an inode, at most limit of them. */
typedef enum rc (*meta_path_visit)(struct bytes path, void *arg, struct err *e);
MUST_CHECK enum rc meta_paths(struct meta *meta, ino_num ino, uint32_t limit, meta_path_visit visit,
                              void *arg, struct err *e);

struct meta_lock_row {
    uint64_t sid, owner;
    bool is_flock, is_write;
    uint32_t pid; /* of fcntl locks, as start and end (inclusive) */
    uint64_t start, end;
};
typedef enum rc (*meta_lock_visit)(const struct meta_lock_row *lock, void *arg, struct err *e);
MUST_CHECK enum rc meta_locks(struct meta *meta, ino_num ino, meta_lock_visit visit, void *arg,
                              struct err *e);

#endif
