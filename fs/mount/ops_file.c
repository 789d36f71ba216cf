/*
 * Requests about open files. fi->fh is the vfs handle; the kernel sends nothing for
 * a handle after its release, so a handle needs no count of its own here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/copy.h"
#include "fs/vfs/lock.h"
#include "fs/vfs/permit.h"

OP_METRIC(open)
OP_METRIC(create)
OP_METRIC(read)
OP_METRIC(write)
OP_METRIC(flush)
OP_METRIC(fsync)
OP_METRIC(release)
OP_METRIC(fallocate)
OP_METRIC(lseek)
OP_METRIC(copy)

static struct vfs_file *file_of(const struct fuse_file_info *fi)
{
    return (struct vfs_file *)(uintptr_t)fi->fh;
}

/* Would the kernel go by an old length? Once it has been told to look again it knows the new one.
 */
static bool must_look_again(const struct mount *m, struct vfs_file *file)
{
    struct node_attr attr;
    vfs_file_attr(file, &attr);
    if (!told_differs(m->told, &attr))
        return false;
    told_name(m->told, &attr);
    return true;
}

/* open(2) adds O_LARGEFILE; without it the kernel opens for an ioctl, and would not look again. */
static bool is_kernels_own(int flags)
{
    return flags == O_RDONLY;
}

/* Was it opened by a name that the kernel remembers and that was removed elsewhere? */
static bool has_old_name(const struct mount *m, fuse_ino_t ino, const struct err *why)
{
    struct err ignored = ERR_INIT;
    struct node_attr attr;
    if (why->code != RC_REFUSED || (why->posix != EPERM && why->posix != ENOENT))
        return false;
    if (vfs_getattr(m->vfs, ino, &attr, &ignored))
        return why->posix == ENOENT;
    if (!told_differs(m->told, &attr))
        return false;
    told_name(m->told, &attr);
    return true;
}

static void refuse_open(fuse_req_t req, fuse_ino_t ino, int flags, const struct err *e)
{
    if (!is_kernels_own(flags) && has_old_name(mount_of(req), ino, e))
        fuse_reply_err(req, ESTALE); /* the kernel looks the path up anew */
    else
        mount_reply_err(req, e, "open", ino);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OP_TIMER(open);
    struct err e = ERR_INIT;
    struct vfs_file *file;
    bool keep_cache;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    if (permit_open(vfs, &who, ino, fi->flags, &e) ||
        vfs_open_file(vfs, ino, fi->flags, &file, &keep_cache, &e)) {
        refuse_open(req, ino, fi->flags, &e);
        return;
    }
    if (!is_kernels_own(fi->flags) && must_look_again(mount_of(req), file)) {
        vfs_release(&file);
        fuse_reply_err(req, ESTALE);
        return;
    }
    fi->fh = (uintptr_t)file;
    fi->keep_cache = keep_cache;
    /* Interrupted: the kernel will not send a release for this handle. */
    if (fuse_reply_open(req, fi) == -ENOENT)
        vfs_release(&file);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    OP_TIMER(create);
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    const struct meta_create what = {
        .parent = parent,
        .name = mount_name(name),
        .type = NODE_FILE,
        .mode = mode & 07777,
        .umask = mount_umask(req),
        .uid = who.uid,
        .gid = mount_creator_gid(req, &who, parent, mode),
    };
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs_file *file;
    if (permit_add(vfs, &who, parent, &e) ||
        vfs_create(vfs, &who, &what, fi->flags, &attr, &file, &e)) {
        mount_reply_err(req, &e, "create", parent);
        return;
    }
    fi->fh = (uintptr_t)file;
    struct fuse_entry_param entry = mount_entry(mount_of(req), &attr);
    if (fuse_reply_create(req, &entry, fi) == -ENOENT)
        vfs_release(&file);
}

/* A fresh megabyte for each request would be paid in page faults. */
uint8_t *mount_read_buffer(const struct mount *m)
{
    uint8_t *buffer = pthread_getspecific(m->read_buffer);
    if (!buffer) {
        buffer = malloc(MOUNT_IO_BYTES);
        if (buffer && pthread_setspecific(m->read_buffer, buffer)) {
            free(buffer);
            buffer = NULL;
        }
    }
    return buffer;
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    OP_TIMER(read);
    struct err e = ERR_INIT;
    uint8_t *buffer = mount_read_buffer(mount_of(req));
    size_t got = 0;
    if (!buffer || size > MOUNT_IO_BYTES)
        fuse_reply_err(req, buffer ? EINVAL : ENOMEM);
    else if (vfs_read(file_of(fi), (uint64_t)off, size, buffer, &got, &e))
        mount_reply_err(req, &e, "read", ino);
    else
        fuse_reply_buf(req, (const char *)buffer, got);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    OP_TIMER(write);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    const struct bytes bytes = {(const uint8_t *)data, size};
    if (vfs_check_append(file_of(fi), fi->flags, fi->writepage, &e) ||
        vfs_write(file_of(fi), &who, (uint64_t)off, bytes, &e))
        mount_reply_err(req, &e, "write", ino);
    else {
        told_written(mount_of(req)->told, ino, (uint64_t)off + size);
        fuse_reply_write(req, size);
    }
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OP_TIMER(flush);
    struct err e = ERR_INIT;
    (void)!vfs_fsync(file_of(fi), &e);
    vfs_unlock_owner(file_of(fi), fi->lock_owner);
    mount_reply_err(req, &e, "flush", ino);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, UNUSED int is_datasync,
                     struct fuse_file_info *fi)
{
    OP_TIMER(fsync);
    struct err e = ERR_INIT;
    (void)!vfs_fsync(file_of(fi), &e);
    mount_reply_err(req, &e, "fsync", ino);
}

static void on_release(fuse_req_t req, UNUSED fuse_ino_t ino, struct fuse_file_info *fi)
{
    OP_TIMER(release);
    struct vfs_file *file = file_of(fi);
    vfs_release(&file);
    fuse_reply_err(req, 0);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
                         struct fuse_file_info *fi)
{
    OP_TIMER(fallocate);
    struct err e = ERR_INIT;
    if (!vfs_fallocate(file_of(fi), mode, (uint64_t)off, (uint64_t)length, &e) &&
        !(mode & FALLOC_FL_KEEP_SIZE))
        told_written(mount_of(req)->told, ino, (uint64_t)off + (uint64_t)length);
    mount_reply_err(req, &e, "fallocate", ino);
}

static void on_copy(fuse_req_t req, UNUSED fuse_ino_t ino_in, off_t off_in,
                    struct fuse_file_info *fi_in, fuse_ino_t ino, off_t off,
                    struct fuse_file_info *fi, size_t length, int flags)
{
    OP_TIMER(copy);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    uint64_t copied;
    if (flags)
        fuse_reply_err(req, EINVAL);
    else if (vfs_copy_range(file_of(fi_in), (uint64_t)off_in, file_of(fi), (uint64_t)off, length,
                            &who, &copied, &e))
        mount_reply_err(req, &e, "copy", ino);
    else {
        if (copied)
            told_written(mount_of(req)->told, ino, (uint64_t)off + copied);
        fuse_reply_write(req, (size_t)copied);
    }
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    OP_TIMER(lseek);
    struct err e = ERR_INIT;
    uint64_t found;
    if (vfs_lseek(file_of(fi), (uint64_t)off, whence, &found, &e))
        mount_reply_err(req, &e, "lseek", ino);
    else
        fuse_reply_lseek(req, (off_t)found);
}

void ops_file_fill(struct fuse_lowlevel_ops *ops)
{
    ops->open = on_open;
    ops->create = on_create;
    ops->read = on_read;
    ops->write = on_write;
    ops->flush = on_flush;
    ops->fsync = on_fsync;
    ops->release = on_release;
    ops->fallocate = on_fallocate;
    ops->lseek = on_lseek;
    ops->copy_file_range = on_copy;
}
