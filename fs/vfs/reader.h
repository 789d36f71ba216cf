/*
 * reader - bytes of an open inode: chunk views to extents, extents to blocks.
 *
 * Threads any · Blocking waits for PostgreSQL, disk and stores
 */
#ifndef FS_VFS_READER_H
#define FS_VFS_READER_H

#include "fs/vfs/state.h"

/* Copy [off, off+size), all below the end of the file, into out. */
MUST_CHECK enum rc reader_copy(struct inode *inode, uint64_t off, uint64_t size, uint8_t *out,
                               struct err *e);
/* Begin to fetch the blocks of [from, to), as far as the file goes. */
void reader_prefetch(struct inode *inode, uint64_t from, uint64_t to);

/* The first byte at or after off (and before end) that is data, or is a hole; end if none. */
MUST_CHECK enum rc reader_seek(struct inode *inode, uint64_t off, uint64_t end, bool wants_data,
                               uint64_t *out, struct err *e);

#endif
