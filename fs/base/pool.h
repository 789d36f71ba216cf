/*
 * pool - a bounded pool of worker threads behind a bounded queue.
 *
 * Threads are started when there is work and none is free, up to max_threads, and end after they
 * were idle for a while. A full queue answers RC_UNAVAILABLE at once; it never grows.
 *
 * Threads   pool_submit() from any thread; the job runs on a worker and may block to its deadline
 * Blocking  pool_submit never; pool_close and pool_drain wait for the jobs
 */
#ifndef FS_BASE_POOL_H
#define FS_BASE_POOL_H

#include <stddef.h>

#include "fs/base/err.h"

struct pool;

struct pool_options {
    const char *name;     /* shown in thread names and metrics; ≤ 11 characters */
    unsigned max_threads; /* 1 … 256 */
    size_t max_queued;    /* jobs waiting; not 0 */
    size_t stack_bytes;   /* 0: 256 KiB */
};

typedef void (*pool_job)(void *arg);

MUST_CHECK enum rc pool_open(struct pool **out, const struct pool_options *options, struct err *e);

/* Run every job submitted so far, then release. Sets *pool to NULL; NULL is ignored. */
void pool_close(struct pool **pool);

/*
 * Queue job(arg). arg stays the caller's on failure, the job's on success.
 *
 * RC_UNAVAILABLE  the queue is full or the pool is closing
 */
MUST_CHECK enum rc pool_submit(struct pool *pool, pool_job job, void *arg, struct err *e);

/* Wait until nothing is queued or running. */
void pool_drain(struct pool *pool);

#endif
