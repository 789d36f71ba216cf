/*
 * The internal files once they are open: a conversation with .control, a reader of .accesslog, and
 * texts that are made when they are opened. What only files of the volume can do is refused.
 */
#include "fs/mount/internal_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/mount/access_log.h"
#include "fs/mount/control.h"
#include "fs/mount/reply.h"
#include "fs/mount/reply_watch.h"

#define TEXT_BYTES_MAX ((size_t)8 << 20)

/* An open one: what it was when it was opened, or a conversation, or a reader of the log. */
struct internal_file {
    struct buf text;
    struct control_session *session;
    struct log_reader *reader;
    struct internal_file *next, **back; /* of the lock of the internal files */
};

static struct internal_file *file_of(const struct fuse_file_info *fi)
{
    return (struct internal_file *)(uintptr_t)fi->fh;
}

static void add_to_list(struct internal *in, struct internal_file *file)
{
    LOCK_SCOPE(&in->lock);
    file->next = in->files;
    file->back = &in->files;
    if (file->next)
        file->next->back = &file->next;
    in->files = file;
}

static void remove_from_list(struct internal *in, struct internal_file *file)
{
    LOCK_SCOPE(&in->lock);
    *file->back = file->next;
    if (file->next)
        file->next->back = file->back;
}

static void file_close(struct internal *in, struct internal_file *file)
{
    remove_from_list(in, file);
    control_session_close(&file->session);
    access_log_reader_close(in->log, &file->reader);
    buf_deinit(&file->text);
    free(file);
}

void internal_files_close(struct internal *in)
{
    while (in->files)
        file_close(in, in->files);
}

static enum rc file_begin(struct internal *in, int number, struct internal_file *file,
                          struct err *e)
{
    switch (number) {
    case INTERNAL_ACCESSLOG:
        return access_log_reader(in->log, &file->reader, e);
    case INTERNAL_CONTROL:
        return control_session_open(in->control, &file->session, e);
    case INTERNAL_STATS:
        return internal_stats(&in->options.facts, &file->text, e);
    default:
        return internal_config(&in->options.facts, &file->text, e);
    }
}

/* The kernel checks the mode as well, unless the mount was told to leave that to us. */
static bool may_open(const struct fuse_ctx *ctx, int number, int flags)
{
    if (number != INTERNAL_CONTROL && (flags & O_ACCMODE) != O_RDONLY)
        return false;
    return ctx->uid == 0 || ctx->uid == geteuid() || (internal_mode(number) & 0004);
}

static void open_file(fuse_req_t req, int number, struct fuse_file_info *fi)
{
    struct internal *in = internal_of(req);
    struct err e = ERR_INIT;
    if (!may_open(fuse_req_ctx(req), number, fi->flags)) {
        fuse_reply_err(req, EACCES);
        return;
    }
    struct internal_file *file = calloc(1, sizeof(*file));
    if (!file) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    buf_init(&file->text, TEXT_BYTES_MAX);
    add_to_list(in, file);
    if (file_begin(in, number, file, &e)) {
        mount_reply_err(req, &e, "open", internal_ino(number));
        file_close(in, file);
        return;
    }
    fi->fh = (uintptr_t)file;
    fi->direct_io = 1; /* their lengths are not known before */
    fi->nonseekable = 0;
    if (fuse_reply_open(req, fi) == -ENOENT)
        file_close(in, file);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (internal_has(ino))
        open_file(req, internal_number(ino), fi);
    else
        internal_behind(req)->open(req, ino, fi);
}

/*
 * By way of the thread's own buffer: the file may be released, by another thread, as soon as its
 * reader has the answer, which is before the write of it has returned.
 */
static void read_text(fuse_req_t req, const struct internal_file *file, size_t size, off_t off)
{
    uint8_t *buffer = mount_read_buffer(mount_of(req));
    if (!buffer) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    const size_t at = (uint64_t)off < file->text.size ? (size_t)off : file->text.size;
    const size_t room = size < MOUNT_IO_BYTES ? size : MOUNT_IO_BYTES;
    const size_t got = room < file->text.size - at ? room : file->text.size - at;
    if (got)
        memcpy(buffer, file->text.data + at, got);
    fuse_reply_buf(req, (const char *)buffer, got);
}

static void read_log(fuse_req_t req, struct internal *in, struct internal_file *file, size_t size)
{
    uint8_t *buffer = mount_read_buffer(mount_of(req));
    if (!buffer) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    const size_t room = size < MOUNT_IO_BYTES ? size : MOUNT_IO_BYTES;
    fuse_reply_buf(req, (const char *)buffer, access_log_read(in->log, file->reader, buffer, room));
}

static void read_control(fuse_req_t req, struct internal_file *file, size_t size, off_t off)
{
    struct err e = ERR_INIT;
    auto_buf struct buf out;
    buf_init(&out, MOUNT_IO_BYTES);
    const size_t room = size < MOUNT_IO_BYTES ? size : MOUNT_IO_BYTES;
    if (control_session_read(file->session, (uint64_t)off, room, &out, &e))
        mount_reply_err(req, &e, "read", internal_ino(INTERNAL_CONTROL));
    else
        fuse_reply_buf(req, (const char *)out.data, out.size);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    switch (internal_number(ino)) {
    case 0:
        reply_watch_begin();
        internal_behind(req)->read(req, ino, size, off, fi);
        internal_count_read(reply_watch_bytes());
        break;
    case INTERNAL_ACCESSLOG:
        read_log(req, internal_of(req), file_of(fi), size);
        break;
    case INTERNAL_CONTROL:
        read_control(req, file_of(fi), size, off);
        break;
    default:
        read_text(req, file_of(fi), size, off);
    }
}

static void write_control(fuse_req_t req, struct internal_file *file, struct bytes data)
{
    struct err e = ERR_INIT;
    auto_free uint32_t *gids = NULL;
    const size_t count = mount_groups(req, &gids);
    /* Who is squashed or called otherwise in the volume is so here, too. */
    const struct vfs_caller caller = mount_caller(req);
    const struct meta_caller who = {caller.uid, count ? gids : &caller.gid, count ? count : 1};
    if (control_session_write(file->session, &who, data, &e))
        mount_reply_err(req, &e, "write", internal_ino(INTERNAL_CONTROL));
    else
        fuse_reply_write(req, data.size);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    if (internal_number(ino) == INTERNAL_CONTROL) {
        write_control(req, file_of(fi), (struct bytes){(const uint8_t *)data, size});
    } else if (internal_has(ino)) {
        fuse_reply_err(req, EACCES);
    } else {
        internal_behind(req)->write(req, ino, data, size, off, fi);
        internal_count_written(size);
    }
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!internal_has(ino)) {
        internal_behind(req)->flush(req, ino, fi);
        return;
    }
    if (file_of(fi)->session)
        control_session_flush(file_of(fi)->session);
    fuse_reply_err(req, 0);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!internal_has(ino)) {
        internal_behind(req)->release(req, ino, fi);
        return;
    }
    file_close(internal_of(req), file_of(fi));
    fuse_reply_err(req, 0);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    if (internal_has(ino))
        fuse_reply_err(req, 0);
    else
        internal_behind(req)->fsync(req, ino, datasync, fi);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        internal_behind(req)->fallocate(req, ino, mode, off, len, fi);
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    if (internal_has(ino))
        fuse_reply_err(req, EINVAL);
    else
        internal_behind(req)->lseek(req, ino, off, whence, fi);
}

static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                     size_t out_size)
{
    if (internal_has(ino))
        fuse_reply_err(req, ENOTTY);
    else
        internal_behind(req)->ioctl(req, ino, cmd, arg, fi, flags, in, in_size, out_size);
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
                               struct fuse_file_info *fi_out, size_t size, int flags)
{
    if (internal_has(in) || internal_has(out))
        fuse_reply_err(req, EOPNOTSUPP);
    else
        internal_behind(req)->copy_file_range(req, in, off_in, fi_in, out, off_out, fi_out, size,
                                              flags);
}

static void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        internal_behind(req)->getlk(req, ino, fi, lock);
}

static void on_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                     int waits)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        internal_behind(req)->setlk(req, ino, fi, lock, waits);
}

static void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        internal_behind(req)->flock(req, ino, fi, op);
}

void internal_file_fill(const struct fuse_lowlevel_ops *behind_ops, struct fuse_lowlevel_ops *ops)
{
    ops->open = on_open;
    ops->read = on_read;
    ops->write = on_write;
    ops->flush = on_flush;
    ops->release = on_release;
    ops->fsync = on_fsync;
    ops->fallocate = behind_ops->fallocate ? on_fallocate : NULL;
    ops->lseek = behind_ops->lseek ? on_lseek : NULL;
    ops->ioctl = behind_ops->ioctl ? on_ioctl : NULL;
    ops->copy_file_range = behind_ops->copy_file_range ? on_copy_file_range : NULL;
    ops->getlk = behind_ops->getlk ? on_getlk : NULL;
    ops->setlk = behind_ops->setlk ? on_setlk : NULL;
    ops->flock = behind_ops->flock ? on_flock : NULL;
}
