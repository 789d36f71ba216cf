/*
 * upload - blocks of slices on their way to the store, a bounded number at a time.
 *
 * Threads any · Blocking when the queue is full: then the caller uploads by itself
 */
#ifndef FS_VFS_UPLOAD_H
#define FS_VFS_UPLOAD_H

#include "fs/vfs/slice_buffer.h"
#include "fs/vfs/state.h"

/* Upload every block of the batch, which was counted by upload_count_locked(). No lock is held. */
void upload_batch(struct vfs *vfs, struct write_batch *batch);
/* Count a batch as uploads of the inode, before the lock under which it was made is dropped. */
void upload_count_locked(struct inode *inode, const struct write_batch *batch);

#endif
