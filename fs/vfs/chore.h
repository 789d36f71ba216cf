/*
 * chore - what a mount tells the upkeep of its volume (struct vfs_upkeep): that it removed a file
 * for good, and which chunks have too many records.
 *
 * How many records a chunk has, the metadata says when a chunk is read. When it is written we count
 * what we add ourselves, in a table that forgets; a count that is too low means that the chunk is
 * compacted by its next reader or by the jobs of the volume.
 *
 * Threads   any, without a lock of the vfs
 * Blocking  chore_written() while a chunk of thousands of records is compacted; the rest never
 * Source    volume format §7.8, §7.10
 */
#ifndef FS_VFS_CHORE_H
#define FS_VFS_CHORE_H

#include "fs/vfs/state.h"

MUST_CHECK enum rc chore_open(struct chores **out, struct err *e);
void chore_close(struct chores **chores);

/* A file was removed for good by this mount; or (is_certain false) one may have been replaced. */
void chore_removed(struct vfs *vfs, bool is_certain);
/* The view of a chunk was used for a read. */
void chore_read(struct inode *inode, const struct chunk_view *view);
/* Slices were committed. */
void chore_written(struct vfs *vfs, ino_num ino, const struct meta_written *slices, size_t count);

#endif
