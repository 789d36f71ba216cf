/*
 * tree - what a mount does with whole trees: remove, clone, add up, and bring into its disk cache.
 *
 * Each walks in pages and keeps a stack of what is still to be done, so memory grows with the depth
 * of a tree, not with its size. What this mount has buffered is stored first where it would be
 * missed. A walk ends early, with RC_CANCELLED, once its watch says so.
 *
 * Threads   any; a walk uses up to watch->threads of its own
 * Blocking  until the walk is done
 * Units     inode numbers as the kernel has them: META_ROOT is the root of the mount
 */
#ifndef FS_VFS_TREE_H
#define FS_VFS_TREE_H

#include <stdatomic.h>

#include "fs/meta/inspect.h"
#include "fs/meta/tree.h"
#include "fs/vfs/vfs.h"

/* What others see of a walk, and how they end it. */
struct tree_watch {
    unsigned threads; /* 0: one */
    atomic_bool is_cancelled;
    _Atomic uint64_t first, second; /* each walk says what it counts */
};

/* The number inside the volume of one that the kernel uses. */
ino_num tree_inside(const struct vfs *vfs, ino_num ino);

/*
 * Whether who could have come to ino through this mount, as the kernel makes sure of for other
 * requests: below its root, and through directories that he may search. EACCES, ENOENT
 */
MUST_CHECK enum rc tree_reach(struct vfs *vfs, const struct meta_caller *who, ino_num ino,
                              struct err *e);
/* The same, and he may do there what mask says (access(2)). */
MUST_CHECK enum rc tree_access(struct vfs *vfs, const struct meta_caller *who, ino_num ino,
                               int mask, struct err *e);

/* Store everything that this mount has buffered, and its part of the accounting. */
MUST_CHECK enum rc tree_sync(struct vfs *vfs, struct err *e);

/* Remove a name with all that is below it. watch: first counts names that are gone. */
MUST_CHECK enum rc tree_remove(struct vfs *vfs, const struct meta_caller *who, ino_num parent,
                               struct bytes name, bool skip_trash, struct tree_watch *watch,
                               struct err *e);

struct tree_clone {
    ino_num src, dst_parent;
    struct bytes name;
    int mode; /* enum clone_mode */
    uint32_t umask;
};
/* Clone a file or a tree. It appears whole or not at all. watch: first entries of second. */
MUST_CHECK enum rc tree_clone(struct vfs *vfs, const struct meta_caller *who,
                              const struct tree_clone *what, struct tree_watch *watch,
                              struct err *e);

/* Sums over an inode and its children, or all below it. watch: first inodes, second bytes. */
MUST_CHECK enum rc tree_sum(struct vfs *vfs, ino_num ino, bool is_recursive, bool is_strict,
                            struct meta_summary *out, struct tree_watch *watch, struct err *e);

/* An entry of a summary, with the sums of what is below it. */
struct tree_entry {
    ino_num ino;
    enum node_type type;
    uint64_t size, files, dirs;
    char *name; /* NULL for the top; "..." stands for those that are not shown */
    size_t name_size;
    struct tree_entry *children; /* largest first */
    size_t child_count;
};
/* The top entries of a directory, and of those of them that are directories, depth levels down. */
MUST_CHECK enum rc tree_summary(struct vfs *vfs, ino_num ino, unsigned depth, unsigned top,
                                bool is_strict, struct tree_entry *out, struct tree_watch *watch,
                                struct err *e);
void tree_entry_deinit(struct tree_entry *entry);

struct tree_filled {
    uint64_t files, slices, bytes; /* looked at */
    uint64_t missing;              /* bytes that are not in the disk cache; of FILL_WARM: failed */
};
/*
 * Warm (fetch what is missing), evict or check (action as enum fill_action) the blocks of the files
 * at and below paths, which are joined by newlines. A path that leads nowhere is logged and passed
 * over. watch: first files, second bytes.
 */
MUST_CHECK enum rc tree_fill(struct vfs *vfs, const struct meta_caller *who, int action,
                             struct bytes paths, struct tree_filled *out, struct tree_watch *watch,
                             struct err *e);

#endif
