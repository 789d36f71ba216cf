/*
 * atime - access times, where a mount keeps them.
 *
 * Threads   any
 * Blocking  one exchange when an access time is due, else never
 */
#ifndef FS_VFS_ATIME_H
#define FS_VFS_ATIME_H

#include "fs/vfs/state.h"

/* An inode with these attributes was read. Best effort: a failure is logged for debugging only. */
void atime_read(struct vfs *vfs, const struct node_attr *attr);
/* The same where the attributes are not at hand: an exchange more. */
void atime_read_ino(struct vfs *vfs, ino_num ino);

#endif
