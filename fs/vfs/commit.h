/*
 * commit - slices that are stored become part of the file, several in one exchange.
 *
 * Threads   the inode's lock is held on entry and on return
 * Blocking  commit_locked drops the lock for one exchange with PostgreSQL
 */
#ifndef FS_VFS_COMMIT_H
#define FS_VFS_COMMIT_H

#include "fs/vfs/slice_buffer.h"
#include "fs/vfs/state.h"

/*
 * Commit the first slices up to until_seq, all of which are ready; nobody else is committing.
 * At most 512 at a time: callers go on until theirs are gone. What is refused for good (file gone,
 * session lost, older than the hour that garbage collection leaves) is dropped, and the inode is
 * marked lost.
 */
MUST_CHECK enum rc commit_locked(struct inode *inode, uint64_t until_seq, struct err *e);

/* The error of an inode that is marked lost: ESTALE. */
MUST_CHECK enum rc commit_report_lost_locked(const struct inode *inode, struct err *e);
/* Free the slices of an inode that is marked lost, except those with uploads or a commit on their
 * way. */
void commit_drop_lost_locked(struct inode *inode);

/* The session has ended: what is pending must not be committed under a new one. */
void commit_fence_locked(struct inode *inode);

/* Take a slice out of the list and free it. */
void commit_remove_locked(struct inode *inode, struct write_slice *slice);

#endif
