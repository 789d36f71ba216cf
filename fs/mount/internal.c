#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "fs/mount/access_log.h"
#include "fs/mount/control.h"
#include "fs/mount/reply.h"
#include "fs/mount/reply_watch.h"

#define FIRST_INO      ((fuse_ino_t)0x7FFFFFFF00000000)
#define TEXT_BYTES_MAX ((size_t)8 << 20)
#define NAME_BYTES     24
#define NODES          5
/* Offsets of our entries in the listing of the root, far from those of others. */
#define LISTING_OFFSET ((off_t)1 << 62)

enum { ACCESSLOG = 1, CONTROL = 2, STATS = 3, CONFIG = 4, TRASH = 5 };

/* By number; the number is that of the inode above FIRST_INO, except of the trash. */
static const struct {
    const char *name;
    mode_t mode;
} nodes[NODES + 1] = {
    [ACCESSLOG] = {".accesslog", S_IFREG | 0400}, [CONTROL] = {".control", S_IFREG | 0666},
    [STATS] = {".stats", S_IFREG | 0444},         [CONFIG] = {".config", S_IFREG | 0400},
    [TRASH] = {".trash", S_IFDIR | 0555},
};
/* What the root lists, in this order. */
static const int listed[] = {ACCESSLOG, STATS, CONFIG, TRASH};
#define LISTED ((off_t)(sizeof(listed) / sizeof(listed[0])))

struct internal {
    struct internal_options options;
    struct timespec born;
    struct access_log *log;
    struct control *control;
    struct fuse_lowlevel_ops behind; /* the handlers of everything else */
    struct fuse_lowlevel_ops logged; /* those with ours in front */
};

/* An open one: what it was when it was opened, or a conversation, or a reader of the log. */
struct internal_file {
    struct buf text;
    struct control_session *session;
    struct log_reader *reader;
};

static struct internal *internal_of(fuse_req_t req)
{
    return mount_of(req)->internal;
}

static const struct fuse_lowlevel_ops *behind(fuse_req_t req)
{
    return &internal_of(req)->behind;
}

static int number_of(fuse_ino_t ino)
{
    return ino > FIRST_INO && ino <= FIRST_INO + CONFIG ? (int)(ino - FIRST_INO) : 0;
}

bool internal_has(fuse_ino_t ino)
{
    return number_of(ino) != 0;
}

static fuse_ino_t ino_of(int number)
{
    return number == TRASH ? (fuse_ino_t)META_TRASH : FIRST_INO + (fuse_ino_t)number;
}

static void shown_name(const struct internal *in, int number, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%s%s", in->options.has_prefix ? ".jfs" : "", nodes[number].name);
}

/* What a name in a directory leads to; 0: nothing of ours. */
static int find(const struct internal *in, fuse_ino_t parent, const char *name)
{
    char shown[NAME_BYTES];
    if (name[0] != '.')
        return 0;
    for (int i = 1; i <= NODES; i++) {
        shown_name(in, i, shown);
        if (strcmp(name, shown) == 0)
            return i == CONTROL || (parent == META_ROOT && (i != TRASH || in->options.has_trash))
                       ? i
                       : 0;
    }
    return 0;
}

static void fill_stat(const struct internal *in, int number, struct stat *st)
{
    *st = (struct stat){
        .st_ino = ino_of(number),
        .st_mode = nodes[number].mode,
        .st_nlink = number == TRASH ? 2 : 1,
        .st_uid = number == TRASH ? 0 : geteuid(),
        .st_gid = number == TRASH ? 0 : getegid(),
        .st_blksize = 4096,
        .st_atim = in->born,
        .st_mtim = in->born,
        .st_ctim = in->born,
    };
}

/* ---- names ---- */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct internal *in = internal_of(req);
    const int number = find(in, parent, name);
    if (number == 0) {
        in->behind.lookup(req, parent, name);
        return;
    }
    if (number == TRASH) {
        struct err e = ERR_INIT;
        struct node_attr attr;
        if (vfs_getattr(mount_of(req)->vfs, META_TRASH, &attr, &e)) {
            mount_reply_err(req, &e, "lookup", parent);
            return;
        }
        const struct fuse_entry_param trash = mount_entry(mount_of(req), &attr);
        fuse_reply_entry(req, &trash);
        return;
    }
    struct fuse_entry_param entry = {.ino = ino_of(number), .attr_timeout = 1, .entry_timeout = 1};
    fill_stat(in, number, &entry.attr);
    fuse_reply_entry(req, &entry);
}

/* The errno of an attempt to change what a name of ours leads to; 0: it is none of ours. */
static int taken(fuse_req_t req, fuse_ino_t parent, const char *name, int posix_errno)
{
    if (find(internal_of(req), parent, name) == 0)
        return 0;
    fuse_reply_err(req, posix_errno);
    return posix_errno;
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    if (!taken(req, parent, name, EEXIST))
        behind(req)->mknod(req, parent, name, mode, rdev);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (!taken(req, parent, name, EEXIST))
        behind(req)->mkdir(req, parent, name, mode);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EEXIST))
        behind(req)->symlink(req, target, parent, name);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    if (!taken(req, parent, name, EEXIST))
        behind(req)->create(req, parent, name, mode, fi);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EPERM))
        behind(req)->unlink(req, parent, name);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EPERM))
        behind(req)->rmdir(req, parent, name);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    if (!taken(req, parent, name, EPERM) && !taken(req, new_parent, new_name, EPERM))
        behind(req)->rename(req, parent, name, new_parent, new_name, flags);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else if (!taken(req, parent, name, EPERM))
        behind(req)->link(req, ino, parent, name);
}

/* ---- attributes ---- */

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;
    fill_stat(internal_of(req), number_of(ino), &st);
    fuse_reply_attr(req, &st, 1);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (internal_has(ino))
        reply_attr(req, ino);
    else
        behind(req)->getattr(req, ino, fi);
}

/* Cutting the file and dating it come with opening it and change nothing. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    if (!internal_has(ino))
        behind(req)->setattr(req, ino, st, to_set, fi);
    else if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        fuse_reply_err(req, EPERM);
    else
        reply_attr(req, ino);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    if (internal_has(ino))
        fuse_reply_err(req, ENODATA);
    else
        behind(req)->getxattr(req, ino, name, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (!internal_has(ino))
        behind(req)->listxattr(req, ino, size);
    else if (size == 0)
        fuse_reply_xattr(req, 0);
    else
        fuse_reply_buf(req, NULL, 0);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->setxattr(req, ino, name, value, size, flags);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->removexattr(req, ino, name);
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    if (internal_has(ino))
        fuse_reply_err(req, 0);
    else
        behind(req)->access(req, ino, mask);
}

/* ---- open files ---- */

static struct internal_file *file_of(const struct fuse_file_info *fi)
{
    return (struct internal_file *)(uintptr_t)fi->fh;
}

static void file_close(struct internal *in, struct internal_file *file)
{
    if (!file)
        return;
    control_session_close(&file->session);
    access_log_reader_close(in->log, &file->reader);
    buf_deinit(&file->text);
    free(file);
}

static enum rc file_begin(struct internal *in, int number, struct internal_file *file,
                          struct err *e)
{
    switch (number) {
    case ACCESSLOG:
        return access_log_reader(in->log, &file->reader, e);
    case CONTROL:
        return control_session_open(in->control, &file->session, e);
    case STATS:
        return internal_stats(&in->options.facts, &file->text, e);
    default:
        return internal_config(&in->options.facts, &file->text, e);
    }
}

/* The kernel checks the mode as well, unless the mount was told to leave that to us. */
static bool may_open(const struct fuse_ctx *ctx, int number, int flags)
{
    if (number != CONTROL && (flags & O_ACCMODE) != O_RDONLY)
        return false;
    return ctx->uid == 0 || ctx->uid == geteuid() || (nodes[number].mode & 0004);
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
    if (file_begin(in, number, file, &e)) {
        mount_reply_err(req, &e, "open", ino_of(number));
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
        open_file(req, number_of(ino), fi);
    else
        behind(req)->open(req, ino, fi);
}

static void read_text(fuse_req_t req, const struct internal_file *file, size_t size, off_t off)
{
    const size_t at = (uint64_t)off < file->text.size ? (size_t)off : file->text.size;
    const size_t left = file->text.size - at;
    fuse_reply_buf(req, left ? (const char *)file->text.data + at : NULL,
                   size < left ? size : left);
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
        mount_reply_err(req, &e, "read", ino_of(CONTROL));
    else
        fuse_reply_buf(req, (const char *)out.data, out.size);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    switch (number_of(ino)) {
    case 0:
        reply_watch_begin();
        behind(req)->read(req, ino, size, off, fi);
        internal_count_read(reply_watch_bytes());
        break;
    case ACCESSLOG:
        read_log(req, internal_of(req), file_of(fi), size);
        break;
    case CONTROL:
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
    const uint32_t own = fuse_req_ctx(req)->gid;
    const struct meta_caller who = {fuse_req_ctx(req)->uid, count ? gids : &own, count ? count : 1};
    if (control_session_write(file->session, &who, data, &e))
        mount_reply_err(req, &e, "write", ino_of(CONTROL));
    else
        fuse_reply_write(req, data.size);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    if (number_of(ino) == CONTROL) {
        write_control(req, file_of(fi), (struct bytes){(const uint8_t *)data, size});
    } else if (internal_has(ino)) {
        fuse_reply_err(req, EACCES);
    } else {
        behind(req)->write(req, ino, data, size, off, fi);
        internal_count_written(size);
    }
}

static void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!internal_has(ino)) {
        behind(req)->flush(req, ino, fi);
        return;
    }
    if (file_of(fi)->session)
        control_session_flush(file_of(fi)->session);
    fuse_reply_err(req, 0);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!internal_has(ino)) {
        behind(req)->release(req, ino, fi);
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
        behind(req)->fsync(req, ino, datasync, fi);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->fallocate(req, ino, mode, off, len, fi);
}

static void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    if (internal_has(ino))
        fuse_reply_err(req, EINVAL);
    else
        behind(req)->lseek(req, ino, off, whence, fi);
}

static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                     size_t out_size)
{
    if (internal_has(ino))
        fuse_reply_err(req, ENOTTY);
    else
        behind(req)->ioctl(req, ino, cmd, arg, fi, flags, in, in_size, out_size);
}

static void on_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
                               struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
                               struct fuse_file_info *fi_out, size_t size, int flags)
{
    if (internal_has(in) || internal_has(out))
        fuse_reply_err(req, EOPNOTSUPP);
    else
        behind(req)->copy_file_range(req, in, off_in, fi_in, out, off_out, fi_out, size, flags);
}

static void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->getlk(req, ino, fi, lock);
}

static void on_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                     int waits)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->setlk(req, ino, fi, lock, waits);
}

static void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        behind(req)->flock(req, ino, fi, op);
}

/* ---- the listing of the root: our entries first, then the directory's own ---- */

static size_t add_entry(fuse_req_t req, uint8_t *at, size_t room, int number, off_t next,
                        bool with_attr)
{
    const struct internal *in = internal_of(req);
    struct fuse_entry_param entry = {.attr_timeout = 1, .entry_timeout = 1, .ino = ino_of(number)};
    char name[NAME_BYTES];
    shown_name(in, number, name);
    fill_stat(in, number, &entry.attr);
    return with_attr ? fuse_add_direntry_plus(req, (char *)at, room, name, &entry, next)
                     : fuse_add_direntry(req, (char *)at, room, name, &entry.attr, next);
}

/* True: answered. Offset 0 or one of ours; behind the last comes offset 0 of the directory. */
static bool list_ours(fuse_req_t req, fuse_ino_t ino, size_t size, off_t *off, bool with_attr)
{
    const struct internal *in = internal_of(req);
    const off_t count = in->options.has_trash ? LISTED : LISTED - 1;
    if (ino != META_ROOT || in->options.is_hidden || (*off != 0 && *off < LISTING_OFFSET))
        return false;
    off_t i = *off ? *off - LISTING_OFFSET : 0;
    if (i >= count) {
        *off = 0;
        return false;
    }
    uint8_t page[1024];
    const size_t room = size < sizeof(page) ? size : sizeof(page);
    size_t used = 0;
    for (; i < count; i++) {
        const size_t one =
            add_entry(req, page + used, room - used, listed[i], LISTING_OFFSET + i + 1, with_attr);
        if (one > room - used)
            break;
        used += one;
    }
    fuse_reply_buf(req, (const char *)page, used);
    return true;
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    if (!list_ours(req, ino, size, &off, false))
        behind(req)->readdir(req, ino, size, off, fi);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    if (!list_ours(req, ino, size, &off, true))
        behind(req)->readdirplus(req, ino, size, off, fi);
}

/* ---- the whole ---- */

/* A handler that there is none of stays none: the kernel learns from that. */
static void put_in_front(const struct fuse_lowlevel_ops *behind_ops, struct fuse_lowlevel_ops *ops)
{
    ops->lookup = on_lookup;
    ops->mknod = on_mknod;
    ops->mkdir = on_mkdir;
    ops->symlink = on_symlink;
    ops->create = on_create;
    ops->unlink = on_unlink;
    ops->rmdir = on_rmdir;
    ops->rename = on_rename;
    ops->link = on_link;
    ops->getattr = on_getattr;
    ops->setattr = on_setattr;
    ops->getxattr = on_getxattr;
    ops->listxattr = on_listxattr;
    ops->setxattr = on_setxattr;
    ops->removexattr = on_removexattr;
    ops->access = behind_ops->access ? on_access : NULL;
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
    ops->readdir = on_readdir;
    ops->readdirplus = on_readdirplus;
}

void internal_fill(struct internal *in, struct fuse_lowlevel_ops *ops)
{
    in->behind = *ops;
    put_in_front(&in->behind, ops);
    in->logged = *ops;
    access_log_fill(ops);
}

struct access_log *internal_log(struct internal *internal)
{
    return internal->log;
}

const struct fuse_lowlevel_ops *internal_logged(struct internal *internal)
{
    return &internal->logged;
}

enum rc internal_open(struct internal **out, const struct internal_options *options, struct err *e)
{
    struct internal *in = calloc(1, sizeof(*in));
    if (!in)
        return err_fail(e, RC_NO_SPACE, "could not allocate the internal files");
    in->options = *options;
    clock_gettime(CLOCK_REALTIME, &in->born);
    const struct control_context context = {.mount = options->mount,
                                            .volume = options->facts.volume,
                                            .cache_dir = options->cache_dir,
                                            .is_read_only = options->facts.is_read_only};
    if (access_log_open(&in->log, e) || control_open(&in->control, &context, e)) {
        internal_close(&in);
        return e->code;
    }
    *out = in;
    return RC_OK;
}

void internal_close(struct internal **internal)
{
    struct internal *in = *internal;
    if (!in)
        return;
    *internal = NULL;
    control_close(&in->control);
    access_log_close(&in->log);
    free(in);
}
