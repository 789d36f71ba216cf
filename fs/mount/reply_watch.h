/*
 * reply_watch - what this thread has answered to the request that it serves: for the access log and
 * the counters, which stand around the handlers and see no replies.
 *
 * fuse_reply_err() and fuse_reply_buf() are wrapped at link time (--wrap), so that no handler has
 * to say twice what it answers. A reply that another thread sends later is not seen.
 *
 * Threads any · Blocking never
 */
#ifndef FS_MOUNT_REPLY_WATCH_H
#define FS_MOUNT_REPLY_WATCH_H

#include <stddef.h>

/* Forget what was answered before. */
void reply_watch_begin(void);
/* The errno since then; 0: none. */
int reply_watch_errno(void);
/* Bytes of data since then. */
size_t reply_watch_bytes(void);

#endif
