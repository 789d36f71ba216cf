/*
 * tmpfile - open(2) with O_TMPFILE: a file without a name.
 *
 * Kernels since 6.1 ask for it with a request of their own (FUSE_TMPFILE) that libfuse 3.14 does
 * not know and would refuse. So it is taken out of the stream of requests and answered here, in the
 * kernel's own form. It looks like CREATE but for its name, which means nothing.
 *
 * Threads   any
 * Blocking  waits for PostgreSQL, as any other request
 * Source    linux/fuse.h, protocol 7.37; fuse_create_open() in the kernel's fs/fuse/dir.c
 */
#ifndef FS_MOUNT_TMPFILE_H
#define FS_MOUNT_TMPFILE_H

#include "fs/mount/mount.h"

/* False: it is another request, and nobody has answered it. */
bool tmpfile_serve(struct mount *mount, const struct fuse_buf *request);

#endif
