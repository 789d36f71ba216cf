/*
 * copy - copy_file_range(2) on open files.
 *
 * Threads any · Blocking waits for PostgreSQL, and the store where there is something to commit
 */
#ifndef FS_VFS_COPY_H
#define FS_VFS_COPY_H

#include "fs/vfs/vfs.h"

/*
 * Copy up to len bytes; *copied may be less, 0 at the end of the source. What is still buffered of
 * both files counts as written.
 */
MUST_CHECK enum rc vfs_copy_range(struct vfs_file *from, uint64_t from_off, struct vfs_file *to,
                                  uint64_t to_off, uint64_t len, const struct vfs_caller *who,
                                  uint64_t *copied, struct err *e);

#endif
