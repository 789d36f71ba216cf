#include "fs/vfs/vfs.h"

#include <errno.h>

#include "fs/base/log.h"
#include "fs/vfs/chore.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/names.h"
#include "fs/vfs/tend.h"
#include "fs/vfs/writer.h"

enum {
    UPLOADS = 20,
    UPLOADS_QUEUED = 8192,
    COMMITS = 4,
    COMMITS_QUEUED = 1024,
    LISTERS = 4,
    LISTERS_QUEUED = 64,
};

static enum rc open_pools(struct vfs *vfs, unsigned uploads, struct err *e)
{
    const struct pool_options upload = {
        .name = "upload", .max_threads = uploads, .max_queued = UPLOADS_QUEUED};
    const struct pool_options commit = {
        .name = "commit", .max_threads = COMMITS, .max_queued = COMMITS_QUEUED};
    const struct pool_options lister = {
        .name = "lister", .max_threads = LISTERS, .max_queued = LISTERS_QUEUED};
    const struct pool_options keeper = {.name = "vfskeep", .max_threads = 2, .max_queued = 2};

    enum rc rc = pool_open(&vfs->uploads, &upload, e);
    if (!rc)
        rc = pool_open(&vfs->commits, &commit, e);
    if (!rc)
        rc = pool_open(&vfs->listers, &lister, e);
    if (!rc)
        rc = pool_open(&vfs->keepers, &keeper, e);
    return rc;
}

static void vfs_free(struct vfs *vfs)
{
    lock_table_close(&vfs->locks);
    pool_close(&vfs->listers);
    pool_close(&vfs->commits);
    pool_close(&vfs->uploads);
    map64_close(&vfs->inodes);
    keep_close(&vfs->keep);
    chore_close(&vfs->chores);
    free(vfs->parents);
    dirs_close(&vfs->dirs);
    recent_close(&vfs->recent);
    acl_table_deinit(&vfs->acls);
    lock_cond_deinit(&vfs->tick);
    lock_deinit(&vfs->tick_lock);
    lock_deinit(&vfs->table);
    free(vfs);
}

static enum rc open_tables(struct vfs *vfs, struct err *e)
{
    vfs->keep = keep_open();
    if (chore_open(&vfs->chores, e) || dirs_open(&vfs->dirs, vfs->attr_ms, e) ||
        recent_open(&vfs->recent, e))
        return e->code;
    vfs->parents = calloc(DIR_PARENTS, sizeof(*vfs->parents));
    if (!vfs->parents)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of directories");
    enum rc rc = map64_open(&vfs->inodes, e);
    return rc ? rc : lock_table_open(&vfs->locks, vfs, e);
}

enum rc vfs_open(struct vfs **out, const struct vfs_options *options, struct err *e)
{
    struct vfs *vfs = calloc(1, sizeof(*vfs));
    if (!vfs)
        return err_fail(e, RC_NO_SPACE, "could not allocate a vfs");
    vfs->volume = options->volume;
    vfs->meta = volume_meta(options->volume);
    vfs->cache = options->cache;
    vfs->memory = block_cache_memory(options->cache);
    vfs->block_bytes = volume_block_bytes(options->volume);
    vfs->readahead_bytes = options->readahead_bytes;
    vfs->is_read_only = options->is_read_only;
    vfs->has_fast_statfs = options->has_fast_statfs;
    vfs->atime = options->atime;
    vfs->attr_ms = options->attr_ms;
    vfs->root = options->root ? options->root : META_ROOT;
    atomic_init(&vfs->quickest_page_ms, UINT64_MAX);
    lock_init(&vfs->table, LOCK_VFS_TABLE);
    acl_table_init(&vfs->acls);
    lock_init(&vfs->tick_lock, LOCK_BASE_QUEUE);
    lock_cond_init(&vfs->tick);
    if (options->buffer_bytes)
        memory_set_limit(vfs->memory, options->buffer_bytes);

    enum rc rc = open_tables(vfs, e);
    if (!rc)
        rc = open_pools(vfs, options->max_uploads ? options->max_uploads : UPLOADS, e);
    if (!rc)
        rc = tend_start(vfs, e);
    if (rc) {
        tend_stop(vfs);
        vfs_free(vfs);
        return rc;
    }
    *out = vfs;
    return RC_OK;
}

/* ---- closing ---- */

/* The first error is the caller's, the others are only logged. */
static void flush_inode(struct inode *in, void *arg)
{
    struct err *first = arg, e = ERR_INIT;
    if (writer_flush(in, &e) == RC_OK)
        return;
    if (first->code == RC_OK)
        *first = e;
    else
        log_err(LOG_LEVEL_ERROR, &e, "could not flush a file");
}

static void release_handles(struct inode *in, void *arg)
{
    (void)arg;
    while (in->files) {
        struct vfs_file *file = in->files;
        vfs_release(&file);
    }
}

enum rc vfs_close(struct vfs **vfs, struct err *e)
{
    struct vfs *v = *vfs;
    struct err unsaved = ERR_INIT, uncounted = ERR_INIT;

    if (!v)
        return RC_OK;
    *vfs = NULL;
    tend_stop(v);
    lock_table_stop(v->locks);
    pool_drain(v->commits);
    inode_each(v, flush_inode, &unsaved);
    inode_each(v, release_handles, NULL);
    vfs_release_dirs(v);
    if (!v->is_read_only && meta_flush_usage(v->meta, &uncounted))
        log_err(LOG_LEVEL_WARN, &uncounted, "could not flush usage at the end; fsck repairs it");
    vfs_free(v);
    if (unsaved.code)
        *e = unsaved;
    return unsaved.code;
}

enum rc vfs_check_writable(const struct vfs *vfs, struct err *e)
{
    if (vfs->is_read_only)
        return err_refused(e, EROFS, "the mount is read-only");
    return meta_check_primary(vfs->meta, e);
}

void vfs_on_invalidate(struct vfs *vfs, void (*notify)(void *arg, ino_num ino), void *arg)
{
    LOCK_SCOPE(&vfs->table);
    vfs->notify = notify;
    vfs->notify_arg = arg;
}

void vfs_on_gone(struct vfs *vfs, void (*gone)(void *arg, const struct err *why), void *arg)
{
    LOCK_SCOPE(&vfs->table);
    vfs->gone = gone;
    vfs->gone_arg = arg;
}
