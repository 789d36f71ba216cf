/*
 * Warming, evicting and checking the disk cache for files and trees.
 *
 * The caller's thread walks and reads lists of slices; each chunk that has any is one piece of work
 * for a pool, and the caller does it itself where the pool is busy, so that nothing piles up.
 */
#include <errno.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/pool.h"
#include "fs/meta/file.h"
#include "fs/meta/namespace.h"
#include "fs/vfs/state.h"
#include "fs/vfs/tree_walk.h"
#include "fs/volume/control_wire.h"

enum {
    CHUNKS_AT_ONCE = 16,
    THREADS_MAX = 32, /* each holds a block while it fetches it */
    PATIENCE_MS = 60000,
};

struct filling {
    struct vfs *vfs;
    const struct meta_caller *who;
    enum fill_action action;
    struct tree_watch *watch;
    struct pool *pool; /* NULL: none could be opened */
    _Atomic uint64_t files, slices, missing;
};

/* ---- blocks ---- */

static uint64_t fill_block(struct filling *f, struct block_id block, struct block_sums sums)
{
    struct err e = ERR_INIT;
    struct block_cache *cache = f->vfs->cache;
    if (f->action == FILL_EVICT) {
        block_cache_evict(cache, block);
        return 0;
    }
    if (f->action == FILL_CHECK)
        return block_cache_has(cache, block) ? 0 : block.size;
    if (block_cache_warm(cache, block, sums, clock_deadline(PATIENCE_MS), &e) == RC_OK)
        return 0;
    log_err(LOG_LEVEL_WARN, &e, "could not warm a block");
    return block.size;
}

static void fill_extent(struct filling *f, const struct chunk_view *view, const struct extent *x)
{
    const uint32_t block_bytes = f->vfs->block_bytes;
    const struct slice_sums *sums = chunk_view_sums(view, x->id);
    const uint32_t last = (x->off + x->len - 1) / block_bytes;
    atomic_fetch_add(&f->slices, 1);
    for (uint32_t i = x->off / block_bytes; i <= last; i++) {
        if (atomic_load(&f->watch->is_cancelled))
            return;
        const struct block_id block = {x->id, i, block_size(x->size, block_bytes, i)};
        atomic_fetch_add(&f->missing,
                         fill_block(f, block, volume_block_sums(f->vfs->volume, sums, i)));
        atomic_fetch_add(&f->watch->second, block.size);
    }
}

struct chunk_job {
    struct filling *filling;
    struct chunk_view *view;
};

static void fill_chunk(void *arg)
{
    struct chunk_job *job = arg;
    for (uint32_t i = 0; i < job->view->extent_count; i++)
        if (job->view->extents[i].id && job->view->extents[i].len)
            fill_extent(job->filling, job->view, &job->view->extents[i]);
    chunk_view_unref(&job->view);
    free(job);
}

/* Takes the view over. */
static enum rc give_chunk(struct filling *f, struct chunk_view **view, struct err *e)
{
    struct err busy = ERR_INIT;
    struct chunk_job *job = malloc(sizeof(*job));
    if (!job)
        return err_fail(e, RC_NO_SPACE, "could not queue a chunk");
    *job = (struct chunk_job){f, *view};
    *view = NULL;
    if (!f->pool || pool_submit(f->pool, fill_chunk, job, &busy))
        fill_chunk(job);
    return RC_OK;
}

/* ---- files ---- */

static enum rc check_cancelled(const struct filling *f, struct err *e)
{
    return atomic_load(&f->watch->is_cancelled) ? err_fail(e, RC_CANCELLED, "cancelled") : RC_OK;
}

static enum rc fill_file(void *arg, const struct node_attr *attr, struct err *e)
{
    struct filling *f = arg;
    const uint64_t chunks = (attr->length + META_CHUNK_BYTES - 1) / META_CHUNK_BYTES;
    enum rc rc = RC_OK;
    for (uint64_t first = 0; !rc && first < chunks; first += CHUNKS_AT_ONCE) {
        struct chunk_view *views[CHUNKS_AT_ONCE] = {NULL};
        const uint32_t count =
            (uint32_t)(chunks - first < CHUNKS_AT_ONCE ? chunks - first : CHUNKS_AT_ONCE);
        rc = check_cancelled(f, e);
        if (!rc)
            rc = meta_slices(f->vfs->meta, attr->ino, (uint32_t)first, count, views, e);
        for (uint32_t i = 0; i < CHUNKS_AT_ONCE; i++) {
            if (!rc && views[i])
                rc = give_chunk(f, &views[i], e);
            chunk_view_unref(&views[i]);
        }
    }
    if (rc)
        return rc;
    atomic_fetch_add(&f->files, 1);
    atomic_fetch_add(&f->watch->first, 1);
    return RC_OK;
}

/* ---- paths ---- */

/* "inode:<n>" names what has no path in the mount that asks. */
static bool inode_of(struct bytes path, ino_num *out)
{
    static const char prefix[] = "inode:";
    const size_t skip = sizeof(prefix) - 1;
    if (path.size <= skip || path.size > skip + 19 || memcmp(path.data, prefix, skip) != 0)
        return false;
    *out = 0;
    for (size_t i = skip; i < path.size; i++) {
        if (path.data[i] < '0' || path.data[i] > '9')
            return false;
        *out = *out * 10 + (path.data[i] - (uint64_t)'0');
    }
    return true;
}

static enum rc find_path(struct filling *f, struct bytes path, struct node_attr *out, struct err *e)
{
    ino_num ino;
    while (path.size && path.data[0] == '/')
        path = (struct bytes){path.data + 1, path.size - 1};
    enum rc rc = inode_of(path, &ino) ? meta_getattr(f->vfs->meta, vfs_inside(f->vfs, ino), out, e)
                                      : meta_resolve(f->vfs->meta, f->vfs->root, path, out, e);
    if (rc || tree_reach(f->vfs, f->who, out->ino, e))
        return e->code;
    return meta_access(f->vfs->meta, out->ino, f->who->uid, f->who->gids, f->who->gid_count, 4, e);
}

static enum rc fill_path(struct filling *f, struct bytes path, struct err *e)
{
    struct node_attr attr;
    enum rc rc = find_path(f, path, &attr, e);
    if (rc == RC_REFUSED) {
        log_warn("no cache is filled for %.*s: %s", (int)path.size, (const char *)path.data,
                 e->text);
        return RC_OK;
    }
    return rc ? rc : tree_each_file(f->vfs, &attr, fill_file, f, f->watch, e);
}

static enum rc fill_paths(struct filling *f, struct bytes paths, struct err *e)
{
    const uint8_t *at = paths.data, *end = paths.data + paths.size;
    enum rc rc = RC_OK;
    while (!rc && at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        const struct bytes path = {at, (size_t)((newline ? newline : end) - at)};
        if (path.size)
            rc = fill_path(f, path, e);
        at = newline ? newline + 1 : end;
    }
    return rc;
}

enum rc tree_fill(struct vfs *vfs, const struct meta_caller *who, int action, struct bytes paths,
                  struct tree_filled *out, struct tree_watch *watch, struct err *e)
{
    struct filling f = {.vfs = vfs, .who = who, .action = (enum fill_action)action, .watch = watch};
    const unsigned threads = watch->threads < THREADS_MAX ? watch->threads : THREADS_MAX;
    const struct pool_options options = {
        .name = "fill", .max_threads = threads ? threads : 1, .max_queued = THREADS_MAX};
    struct err alone = ERR_INIT; /* then this thread does it all */
    if (tree_sync(vfs, e))
        return e->code;
    if (pool_open(&f.pool, &options, &alone))
        f.pool = NULL;
    enum rc rc = fill_paths(&f, paths, e);
    pool_close(&f.pool);
    *out = (struct tree_filled){
        .files = f.files, .slices = f.slices, .bytes = watch->second, .missing = f.missing};
    return rc;
}
