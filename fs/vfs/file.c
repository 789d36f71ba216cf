/*
 * Open files: opening, creating, reading, writing, and the end of a handle.
 */
#include <errno.h>
#include <fcntl.h>

#include "fs/base/log.h"
#include "fs/vfs/atime.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/names.h"
#include "fs/vfs/permit.h"
#include "fs/vfs/reader.h"
#include "fs/vfs/writer.h"

static bool wants_write(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* ---- opening ---- */

/* A handle on an inode, whose reference it takes over. */
static enum rc file_new(struct inode **inode, int flags, struct vfs_file **out, struct err *e)
{
    struct vfs_file *file = calloc(1, sizeof(*file));
    if (!file)
        return err_fail(e, RC_NO_SPACE, "could not allocate a file handle");
    struct inode *in = take_pointer(inode);
    file->vfs = in->vfs;
    file->inode = in;
    file->is_writable = wants_write(flags);
    file->is_silent = flags & O_NOATIME;
    LOCK_SCOPE(&in->lock);
    file->next = in->files;
    file->back_link = &in->files;
    if (in->files)
        in->files->back_link = &file->next;
    in->files = file;
    *out = file;
    return RC_OK;
}

static uint64_t epoch_of(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    return in->epoch;
}

enum rc vfs_open_file(struct vfs *vfs, ino_num ino, int flags, struct vfs_file **out,
                      bool *keep_cache, struct err *e)
{
    auto_inode struct inode *in = NULL;
    struct meta_opened opened = {0};
    const bool for_write = wants_write(flags);

    *keep_cache = false;
    if (for_write && vfs_check_writable(vfs, e))
        return e->code;
    enum rc rc = inode_get(vfs, vfs_inside(vfs, ino), &in, e);
    if (rc)
        return rc;
    const uint64_t epoch = epoch_of(in);
    rc = meta_open_file(vfs->meta, in->ino, for_write, &opened, e);
    if (rc)
        return rc;
    *keep_cache = inode_opened(in, &opened, epoch);
    chunk_view_unref(&opened.view);
    const bool is_append = opened.attr.flags & NODE_APPEND;
    if (for_write && is_append && !(flags & O_APPEND))
        return err_refused(e, EPERM, "the file may only grow");
    rc = file_new(&in, flags, out, e);
    if (!rc)
        (*out)->is_append = is_append;
    return rc;
}

/* A new file: what open would answer is known. */
static enum rc open_created(struct vfs *vfs, const struct node_attr *attr, int flags,
                            struct vfs_file **out, struct err *e)
{
    auto_inode struct inode *in = NULL;
    enum rc rc = inode_get(vfs, attr->ino, &in, e);
    if (rc)
        return rc;
    lock_take(&in->lock);
    inode_learn_locked(in, attr);
    lock_drop(&in->lock);
    return file_new(&in, flags, out, e);
}

/* The name was there already: open it, and cut it where O_TRUNC asks for that. */
static enum rc open_existing(struct vfs *vfs, const struct vfs_caller *who, int flags,
                             struct node_attr *attr, struct vfs_file **out, struct err *e)
{
    bool ignored;
    if (attr->type != NODE_FILE)
        return err_refused(e, EEXIST, "the name belongs to something that is not a file");
    if (permit_open(vfs, who, attr->ino, flags, e))
        return e->code;
    if ((flags & O_TRUNC) && wants_write(flags)) {
        const struct meta_setattr cut = {.ino = attr->ino,
                                         .mask = SETATTR_LENGTH,
                                         .length = 0,
                                         .caller_uid = who->uid,
                                         .caller_gid = who->gid};
        enum rc rc = vfs_setattr(vfs, &cut, attr, e);
        if (rc)
            return rc;
    }
    enum rc rc = vfs_open_file(vfs, attr->ino, flags, out, &ignored, e);
    if (!rc)
        names_outward(vfs, attr);
    return rc;
}

enum rc vfs_create(struct vfs *vfs, const struct vfs_caller *who, const struct meta_create *what,
                   int flags, struct node_attr *attr, struct vfs_file **out, struct err *e)
{
    enum rc rc = names_create(vfs, what, attr, e);
    if (rc == RC_OK) {
        rc = open_created(vfs, attr, flags, out, e);
        if (!rc)
            names_outward(vfs, attr);
        return rc;
    }
    const bool exists = rc == RC_EXISTS || (rc == RC_REFUSED && e->posix == EEXIST);
    if (!exists || (flags & O_EXCL) || attr->ino == 0)
        return rc;
    return open_existing(vfs, who, flags, attr, out, e);
}

enum rc vfs_tmpfile(struct vfs *vfs, const struct meta_create *what, int flags,
                    struct node_attr *attr, struct vfs_file **out, struct err *e)
{
    struct meta_create inside = *what;
    if (vfs_check_writable(vfs, e))
        return e->code;
    inside.parent = vfs_inside(vfs, what->parent);
    if (meta_tmpfile(vfs->meta, &inside, attr, e))
        return e->code;
    enum rc rc = open_created(vfs, attr, flags, out, e);
    if (rc) {
        struct err late = ERR_INIT; /* what is not let go now goes with the session */
        (void)!meta_release(vfs->meta, attr->ino, &late);
        return rc;
    }
    inode_orphaned(vfs, attr->ino);
    names_outward(vfs, attr);
    return RC_OK;
}

/* ---- reading ---- */

struct read_plan {
    uint64_t size; /* cut at the end of the file */
    struct node_attr attr;
    struct readahead_plan ahead;
};

static struct read_plan plan_read(struct vfs_file *file, uint64_t off, uint64_t size)
{
    const struct vfs *vfs = file->vfs;
    const struct readahead_limits limits = {.first_bytes = 2ull * vfs->block_bytes,
                                            .max_bytes = vfs->readahead_bytes};
    struct read_plan plan = {0};

    LOCK_SCOPE(&file->inode->lock);
    const uint64_t length = inode_length_locked(file->inode);
    if (off >= length)
        return plan;
    plan.size = size < length - off ? size : length - off;
    plan.attr = file->inode->attr;
    plan.ahead = readahead_note(&file->readahead, off, plan.size, limits);
    return plan;
}

enum rc vfs_read(struct vfs_file *file, uint64_t off, size_t size, uint8_t *out, size_t *got,
                 struct err *e)
{
    *got = 0;
    enum rc rc = writer_flush_range(file->inode, off, size, e);
    if (rc)
        return rc;
    const struct read_plan plan = plan_read(file, off, size);
    if (plan.size == 0)
        return RC_OK;
    if (plan.ahead.from < plan.ahead.to)
        reader_prefetch(file->inode, plan.ahead.from, plan.ahead.to);
    rc = reader_copy(file->inode, off, plan.size, out, e);
    if (rc)
        return rc;
    *got = (size_t)plan.size;
    if (!file->is_silent)
        atime_read(file->vfs, &plan.attr);
    return RC_OK;
}

enum rc vfs_lseek(struct vfs_file *file, uint64_t off, int whence, uint64_t *out, struct err *e)
{
    struct inode *in = file->inode;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return err_refused(e, EINVAL, "only SEEK_DATA and SEEK_HOLE are answered here");
    enum rc rc = writer_flush_range(in, 0, META_LENGTH_MAX, e);
    if (rc)
        return rc;
    lock_take(&in->lock);
    const uint64_t length = inode_length_locked(in);
    lock_drop(&in->lock);
    if (off >= length)
        return err_refused(e, ENXIO, "the offset is at or past the end");
    rc = reader_seek(in, off, length, whence == SEEK_DATA, out, e);
    if (!rc && whence == SEEK_DATA && *out == length)
        rc = err_refused(e, ENXIO, "there is no data after the offset");
    return rc;
}

/* ---- writing ---- */

static uint32_t flags_of(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    return in->attr.flags;
}

/* A handle from before a file became immutable writes no more either. */
static enum rc check_write(const struct vfs_file *file, struct err *e)
{
    if (!file->is_writable)
        return err_refused(e, EBADF, "the file is not open for writing");
    if (flags_of(file->inode) & NODE_IMMUTABLE)
        return err_refused(e, EPERM, "the file is immutable");
    return meta_check_primary(file->vfs->meta, e); /* before bytes pile up that may be lost */
}

enum rc vfs_check_append(struct vfs_file *file, int flags, bool is_page, struct err *e)
{
    const bool is_append = file->is_append && (flags_of(file->inode) & NODE_APPEND);
    if (is_append && (is_page || !(flags & O_APPEND)))
        return err_refused(e, EPERM, "the file may only grow");
    return RC_OK;
}

enum rc vfs_write(struct vfs_file *file, const struct vfs_caller *who, uint64_t off,
                  struct bytes data, struct err *e)
{
    enum rc rc = check_write(file, e);
    if (rc)
        return rc;
    if (off > META_LENGTH_MAX || data.size > META_LENGTH_MAX - off)
        return err_refused(e, EFBIG, "the file would be longer than 2^57 bytes");
    return writer_write(file->inode, who, off, data, e);
}

enum rc vfs_fsync(struct vfs_file *file, struct err *e)
{
    return writer_flush(file->inode, e);
}

enum rc vfs_fallocate(struct vfs_file *file, int mode, uint64_t off, uint64_t len, struct err *e)
{
    struct inode *in = file->inode;
    struct node_attr attr = {0};

    enum rc rc = check_write(file, e);
    if (!rc)
        rc = writer_pause(in, e);
    if (rc)
        return rc;
    rc = meta_fallocate(file->vfs->meta, in->ino, mode, off, len, &attr, e);
    lock_take(&in->lock);
    if (!rc)
        inode_changed_locked(in, &attr);
    lock_drop(&in->lock);
    writer_resume(in);
    return rc;
}

void vfs_file_attr(struct vfs_file *file, struct node_attr *out)
{
    struct inode *in = file->inode;
    lock_take(&in->lock);
    *out = in->attr;
    lock_drop(&in->lock);
    names_outward(file->vfs, out);
}

/* ---- the end ---- */

void vfs_release(struct vfs_file **file)
{
    struct vfs_file *f = *file;
    if (!f)
        return;
    *file = NULL;
    struct inode *in = f->inode;
    struct err e = ERR_INIT;
    if (f->is_writable && writer_flush(in, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not flush a file at its close");
    lock_handle_closed(f);
    lock_take(&in->lock);
    *f->back_link = f->next;
    if (f->next)
        f->next->back_link = f->back_link;
    lock_drop(&in->lock);
    free(f);
    inode_put(&in);
}
