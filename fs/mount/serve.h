/*
 * serve - the threads that take requests from /dev/fuse.
 *
 * Leader and followers: a thread takes a request and serves it itself, so that nothing is handed
 * over on the way; at most two threads wait on the device (more idle readers make a single client
 * slower, measured), the others wait their turn on a condition. A thread is woken or started only
 * when nobody is left to read. A thread that had nothing to do for a while ends and takes its
 * request buffer with it.
 *
 * Threads   serve_run() from the owner, which only waits; serve_stop() from any thread, but not
 * from a signal handler Blocking  serve_run() until the file system is unmounted or serve_stop()
 */
#ifndef FS_MOUNT_SERVE_H
#define FS_MOUNT_SERVE_H

#include <stdbool.h>

#include "fs/base/err.h"

struct serve;
struct fuse_buf;
struct fuse_session;

/* Looks at each request before libfuse does; true: it has been answered. */
typedef bool (*serve_filter_fn)(void *arg, const struct fuse_buf *request);

MUST_CHECK enum rc serve_open(struct serve **out, struct fuse_session *session,
                              unsigned max_threads, serve_filter_fn filter, void *filter_arg,
                              struct err *e);
/*
 * Serve until the end; returns when no request is being served any more. From then on, until
 * serve_close(), requests are refused with ENOTCONN.
 */
void serve_run(struct serve *serve);
/* Serve no further request. */
void serve_stop(struct serve *serve);
/* Before the session is unmounted. */
void serve_close(struct serve **serve);

#endif
