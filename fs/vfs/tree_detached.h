/*
 * tree_detached - the removal of a clone that did not become one, for whoever made it.
 *
 * Threads any · Blocking until it is gone
 */
#ifndef FS_VFS_TREE_DETACHED_H
#define FS_VFS_TREE_DETACHED_H

#include "fs/vfs/vfs.h"

/* ino is a number of the volume: the top of a detached tree. */
MUST_CHECK enum rc tree_remove_detached(struct vfs *vfs, ino_num ino, struct err *e);

#endif
