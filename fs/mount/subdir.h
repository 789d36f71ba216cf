/*
 * subdir - the directory of the volume that a mount shows as its root (--subdir).
 *
 * Threads any · Blocking waits for PostgreSQL, once for each directory on the way
 */
#ifndef FS_MOUNT_SUBDIR_H
#define FS_MOUNT_SUBDIR_H

#include "fs/meta/namespace.h"

/*
 * The inode of path, META_ROOT for NULL, "" and "/". Directories that are missing are made, with
 * mode 0777 as stock clients make them, if may_make.
 */
MUST_CHECK enum rc subdir_find(struct meta *meta, const char *path, bool may_make, ino_num *out,
                               struct err *e);

#endif
