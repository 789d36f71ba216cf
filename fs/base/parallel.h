/*
 * parallel - the same work on each of a batch of items, by a few threads that end with the batch.
 *
 * For commands that go through millions of items page by page: a page is handed out item by item,
 * and the call returns when the page is done. The first failure stops the handing out.
 *
 * Threads   the caller waits; `work` runs on several threads at once
 * Blocking  until every item that was begun is finished
 */
#ifndef FS_BASE_PARALLEL_H
#define FS_BASE_PARALLEL_H

#include <stddef.h>

#include "fs/base/err.h"

#define PARALLEL_THREADS_MAX 256

/* Work on item i. */
typedef enum rc (*parallel_work)(size_t i, void *arg, struct err *e);

/*
 * Call work(0 … count-1) on at most `threads` threads (1 … PARALLEL_THREADS_MAX; 1: the caller's
 * own). The answer is that of the first item that failed.
 */
MUST_CHECK enum rc parallel_run(size_t count, unsigned threads, parallel_work work, void *arg,
                                struct err *e);

#endif
