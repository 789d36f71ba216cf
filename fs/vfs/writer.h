/*
 * writer - from written bytes to committed slices.
 *
 * Data is gathered in slices, cut into blocks; a block that is full is uploaded while writing goes
 * on and its memory given back; slices are committed in the order of their creation, and only when
 * all their blocks are stored. A failed upload is kept and tried again by the next flush, so bytes
 * are lost only at the last close, and then loudly.
 *
 * Threads   any
 * Blocking  writer_write on back-pressure; writer_flush on uploads and one exchange
 */
#ifndef FS_VFS_WRITER_H
#define FS_VFS_WRITER_H

#include "fs/vfs/state.h"

MUST_CHECK enum rc writer_write(struct inode *inode, const struct vfs_caller *who, uint64_t off,
                                struct bytes data, struct err *e);

/* Store and commit all that was written before the call. */
MUST_CHECK enum rc writer_flush(struct inode *inode, struct err *e);
/* The same if anything pending touches [off, off+size): then a read of it must wait. */
MUST_CHECK enum rc writer_flush_range(struct inode *inode, uint64_t off, uint64_t size,
                                      struct err *e);

/* Flush and keep new writes out until writer_resume(): the length is about to change. */
MUST_CHECK enum rc writer_pause(struct inode *inode, struct err *e);
void writer_resume(struct inode *inode);

/*
 * The background's part: begin to upload what is older than a few seconds (or all of it), try
 * failed uploads again; true when there is something to commit.
 */
bool writer_tick(struct inode *inode, bool takes_all);
/* Commit what is ready, waiting for nothing. */
MUST_CHECK enum rc writer_commit_ready(struct inode *inode, struct err *e);

/* At the last close: wait for uploads on their way and drop what is left, logging it. */
void writer_discard(struct inode *inode);

#endif
