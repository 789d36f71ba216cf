/*
 * tree_sum - adding up several trees in one walk, for the verbs of tree.h.
 *
 * Threads any · Blocking waits for PostgreSQL
 */
#ifndef FS_VFS_TREE_SUM_H
#define FS_VFS_TREE_SUM_H

#include "fs/vfs/tree.h"

struct tree_sum_root {
    ino_num ino; /* as the volume numbers it */
    struct meta_summary *into;
};

/* Add what is below each root to its sum; the root itself is not in it. */
MUST_CHECK enum rc tree_sum_dirs(struct vfs *vfs, const struct tree_sum_root *roots, size_t count,
                                 bool is_recursive, bool is_strict, struct tree_watch *watch,
                                 struct err *e);
/* What an entry takes in the accounting. */
uint64_t tree_entry_bytes(const struct node_attr *attr);

#endif
