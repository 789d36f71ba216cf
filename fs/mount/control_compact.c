/*
 * Compaction of a tree on request. The walk hands chunks to a pool and does one itself where the
 * pool is busy. watch: first chunks that were found, second chunks that are done.
 */
#include <errno.h>

#include "fs/base/log.h"
#include "fs/base/pool.h"
#include "fs/mount/control_run.h"
#include "fs/upkeep/compact.h"
#include "fs/vfs/tree_walk.h"

#define THREADS_MAX 16 /* each has two blocks in memory */

struct compaction {
    const struct control_context *context;
    struct tree_watch *watch;
    struct pool *pool; /* NULL: none could be opened */
    _Atomic uint64_t failed;
};

struct chunk_job {
    struct compaction *compaction;
    ino_num ino;
    uint32_t indx;
};

static void compact_one(void *arg)
{
    struct chunk_job *job = arg;
    struct compaction *c = job->compaction;
    struct compact_result result = {.outcome = COMPACT_NOTHING};
    struct err e = ERR_INIT;
    if (!atomic_load(&c->watch->is_cancelled) &&
        compact_whole_chunk(c->context->volume, job->ino, job->indx, &result, &e)) {
        log_err(LOG_LEVEL_WARN, &e, "could not compact a chunk");
        atomic_fetch_add(&c->failed, 1);
    }
    atomic_fetch_add(&c->watch->second, 1);
    free(job);
}

static enum rc give(struct compaction *c, ino_num ino, uint32_t indx, struct err *e)
{
    struct err busy = ERR_INIT;
    struct chunk_job *job = malloc(sizeof(*job));
    if (!job)
        return err_fail(e, RC_NO_SPACE, "could not queue a chunk");
    *job = (struct chunk_job){c, ino, indx};
    atomic_fetch_add(&c->watch->first, 1);
    if (!c->pool || pool_submit(c->pool, compact_one, job, &busy))
        compact_one(job);
    return RC_OK;
}

static enum rc compact_file(void *arg, const struct node_attr *file, struct err *e)
{
    struct compaction *c = arg;
    const uint64_t chunks = (file->length + META_CHUNK_BYTES - 1) / META_CHUNK_BYTES;
    for (uint64_t i = 0; i < chunks; i++) {
        if (atomic_load(&c->watch->is_cancelled))
            return err_fail(e, RC_CANCELLED, "cancelled");
        if (give(c, file->ino, (uint32_t)i, e))
            return e->code;
    }
    return RC_OK;
}

enum rc control_compact(const struct control_context *context,
                        const struct control_request *request, struct tree_watch *watch,
                        struct err *e)
{
    struct compaction c = {.context = context, .watch = watch};
    struct vfs *vfs = context->mount->vfs;
    const unsigned threads = watch->threads < THREADS_MAX ? watch->threads : THREADS_MAX;
    const struct pool_options options = {
        .name = "compact", .max_threads = threads ? threads : 1, .max_queued = THREADS_MAX};
    struct err alone = ERR_INIT;
    struct node_attr attr;
    if (tree_sync(vfs, e) || vfs_getattr(vfs, request->ino, &attr, e))
        return e->code;
    if (context->is_read_only)
        return err_refused(e, EROFS, "the mount is read-only");
    attr.ino = tree_inside(vfs, request->ino);
    if (pool_open(&c.pool, &options, &alone))
        c.pool = NULL;
    enum rc rc = tree_each_file(vfs, &attr, compact_file, &c, watch, e);
    pool_close(&c.pool);
    if (!rc && c.failed)
        rc =
            err_refused(e, EIO, "%llu chunks could not be compacted", (unsigned long long)c.failed);
    return rc;
}
