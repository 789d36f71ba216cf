/*
 * tree_walk - every regular file at and below an inode, one after the other.
 *
 * Threads   one; the visit may hand the file to others
 * Blocking  waits for PostgreSQL, and for the visits
 */
#ifndef FS_VFS_TREE_WALK_H
#define FS_VFS_TREE_WALK_H

#include "fs/vfs/tree.h"

/* ENOENT of a visit is passed over: the file was removed since it was listed. */
typedef enum rc (*tree_visit)(void *arg, const struct node_attr *file, struct err *e);

/* attr has the number inside the volume. RC_CANCELLED once the watch says so. */
MUST_CHECK enum rc tree_each_file(struct vfs *vfs, const struct node_attr *attr, tree_visit visit,
                                  void *arg, struct tree_watch *watch, struct err *e);

#endif
