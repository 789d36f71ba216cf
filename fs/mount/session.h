/*
 * session - what is agreed with the kernel: which requests we answer, and how.
 *
 * Threads one, before requests are served · Blocking never
 */
#ifndef FS_MOUNT_SESSION_H
#define FS_MOUNT_SESSION_H

#include "fs/mount/mount.h"

/*
 * Make mount->session; options as libfuse reads them after -o. The mount must be complete, for the
 * handlers have it as their data.
 */
MUST_CHECK enum rc session_open(struct mount *mount, const char *options, struct err *e);

#endif
