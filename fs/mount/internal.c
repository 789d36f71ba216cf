/*
 * The names of the internal files, their attributes and their place in the listing of the root.
 */
#include "fs/mount/internal_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mount/access_log.h"
#include "fs/mount/control.h"
#include "fs/mount/reply.h"

#define FIRST_INO  ((fuse_ino_t)0x7FFFFFFF00000000)
#define NAME_BYTES 24
/* Offsets of our entries in the listing of the root, far from those of others. */
#define LISTING_OFFSET ((off_t)1 << 62)

/* By number; the number is that of the inode above FIRST_INO, except of the trash. */
static const struct {
    const char *name;
    mode_t mode;
} nodes[INTERNAL_NODES + 1] = {
    [INTERNAL_ACCESSLOG] = {".accesslog", S_IFREG | 0400},
    [INTERNAL_CONTROL] = {".control", S_IFREG | 0666},
    [INTERNAL_STATS] = {".stats", S_IFREG | 0444},
    [INTERNAL_CONFIG] = {".config", S_IFREG | 0400},
    [INTERNAL_TRASH] = {".trash", S_IFDIR | 0555},
};
/* What the root lists, in this order. */
static const int listed[] = {INTERNAL_ACCESSLOG, INTERNAL_STATS, INTERNAL_CONFIG, INTERNAL_TRASH};
#define LISTED ((off_t)(sizeof(listed) / sizeof(listed[0])))

struct internal *internal_of(fuse_req_t req)
{
    return mount_of(req)->internal;
}

const struct fuse_lowlevel_ops *internal_behind(fuse_req_t req)
{
    return &internal_of(req)->behind;
}

int internal_number(fuse_ino_t ino)
{
    return ino > FIRST_INO && ino <= FIRST_INO + INTERNAL_CONFIG ? (int)(ino - FIRST_INO) : 0;
}

bool internal_has(fuse_ino_t ino)
{
    return internal_number(ino) != 0;
}

fuse_ino_t internal_ino(int number)
{
    return number == INTERNAL_TRASH ? (fuse_ino_t)META_TRASH : FIRST_INO + (fuse_ino_t)number;
}

mode_t internal_mode(int number)
{
    return nodes[number].mode;
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
    for (int i = 1; i <= INTERNAL_NODES; i++) {
        shown_name(in, i, shown);
        if (strcmp(name, shown) == 0)
            return i == INTERNAL_CONTROL ||
                           (parent == META_ROOT && (i != INTERNAL_TRASH || in->options.has_trash))
                       ? i
                       : 0;
    }
    return 0;
}

static void fill_stat(const struct internal *in, int number, struct stat *st)
{
    *st = (struct stat){
        .st_ino = internal_ino(number),
        .st_mode = nodes[number].mode,
        .st_nlink = number == INTERNAL_TRASH ? 2 : 1,
        .st_uid = number == INTERNAL_TRASH ? 0 : geteuid(),
        .st_gid = number == INTERNAL_TRASH ? 0 : getegid(),
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
    if (number == INTERNAL_TRASH) {
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
    struct fuse_entry_param entry = {
        .ino = internal_ino(number), .attr_timeout = 1, .entry_timeout = 1};
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
        internal_behind(req)->mknod(req, parent, name, mode, rdev);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    if (!taken(req, parent, name, EEXIST))
        internal_behind(req)->mkdir(req, parent, name, mode);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EEXIST))
        internal_behind(req)->symlink(req, target, parent, name);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    if (!taken(req, parent, name, EEXIST))
        internal_behind(req)->create(req, parent, name, mode, fi);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EPERM))
        internal_behind(req)->unlink(req, parent, name);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    if (!taken(req, parent, name, EPERM))
        internal_behind(req)->rmdir(req, parent, name);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    if (!taken(req, parent, name, EPERM) && !taken(req, new_parent, new_name, EPERM))
        internal_behind(req)->rename(req, parent, name, new_parent, new_name, flags);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else if (!taken(req, parent, name, EPERM))
        internal_behind(req)->link(req, ino, parent, name);
}

/* ---- attributes ---- */

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;
    fill_stat(internal_of(req), internal_number(ino), &st);
    fuse_reply_attr(req, &st, 1);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (internal_has(ino))
        reply_attr(req, ino);
    else
        internal_behind(req)->getattr(req, ino, fi);
}

/* Cutting the file and dating it come with opening it and change nothing. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *fi)
{
    if (!internal_has(ino))
        internal_behind(req)->setattr(req, ino, st, to_set, fi);
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
        internal_behind(req)->getxattr(req, ino, name, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    if (!internal_has(ino))
        internal_behind(req)->listxattr(req, ino, size);
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
        internal_behind(req)->setxattr(req, ino, name, value, size, flags);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    if (internal_has(ino))
        fuse_reply_err(req, EPERM);
    else
        internal_behind(req)->removexattr(req, ino, name);
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    if (internal_has(ino))
        fuse_reply_err(req, 0);
    else
        internal_behind(req)->access(req, ino, mask);
}

/* ---- the listing of the root: our entries first, then the directory's own ---- */

static size_t add_entry(fuse_req_t req, uint8_t *at, size_t room, int number, off_t next,
                        bool with_attr)
{
    const struct internal *in = internal_of(req);
    struct fuse_entry_param entry = {
        .attr_timeout = 1, .entry_timeout = 1, .ino = internal_ino(number)};
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
        internal_behind(req)->readdir(req, ino, size, off, fi);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    if (!list_ours(req, ino, size, &off, true))
        internal_behind(req)->readdirplus(req, ino, size, off, fi);
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
    ops->readdir = on_readdir;
    ops->readdirplus = on_readdirplus;
    internal_file_fill(behind_ops, ops);
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
    lock_init(&in->lock, LOCK_BASE_QUEUE);
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
    internal_files_close(in);
    control_close(&in->control);
    access_log_close(&in->log);
    lock_deinit(&in->lock);
    free(in);
}
