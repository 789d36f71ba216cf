/*
 * tend - the housekeeping of a mounted volume: the session's heartbeat, usage, and bringing what
 * was written some seconds ago to the store without being asked.
 *
 * Threads   two workers of the vfs, from tend_start() to tend_stop()
 */
#ifndef FS_VFS_TEND_H
#define FS_VFS_TEND_H

#include "fs/vfs/state.h"

MUST_CHECK enum rc tend_start(struct vfs *vfs, struct err *e);
void tend_stop(struct vfs *vfs);

/* Tell the kernel that what it has cached of ino is wrong. Waits for its reads of these pages. */
void tend_notify(struct vfs *vfs, ino_num ino);

/* Memory is short and nothing is on its way: begin to upload everything that is buffered. */
void tend_relieve(struct vfs *vfs);

#endif
