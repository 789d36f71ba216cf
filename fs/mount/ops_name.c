/*
 * Requests about names and attributes. Each handler turns the kernel's words into one verb of the
 * vfs and replies exactly once.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"

OP_METRIC(lookup)
OP_METRIC(getattr)
OP_METRIC(setattr)
OP_METRIC(readlink)
OP_METRIC(mknod)
OP_METRIC(unlink)
OP_METRIC(rmdir)
OP_METRIC(rename)
OP_METRIC(link)
OP_METRIC(statfs)
OP_METRIC(access)
OP_METRIC(getxattr)
OP_METRIC(setxattr)
OP_METRIC(listxattr)
OP_METRIC(removexattr)

void mount_reply_err(fuse_req_t req, const struct err *e, const char *what, fuse_ino_t ino)
{
    fuse_reply_err(req, reply_errno(e, what, ino));
}

struct fuse_entry_param mount_entry(const struct mount *m, const struct node_attr *attr)
{
    struct fuse_entry_param entry = {
        .ino = attr->ino,
        .attr_timeout = m->attr_seconds,
        .entry_timeout = attr->type == NODE_DIRECTORY ? m->dir_entry_seconds : m->entry_seconds,
    };
    reply_stat(attr, &entry.attr);
    told_attr(m->told, attr);
    return entry;
}

struct vfs_caller mount_caller(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    return (struct vfs_caller){ctx->uid, ctx->gid, (uint32_t)ctx->pid};
}

uint32_t mount_umask(fuse_req_t req)
{
    const int given = mount_of(req)->umask;
    return given >= 0 ? (uint32_t)given : fuse_req_ctx(req)->umask;
}

static struct bytes name_of(const char *name)
{
    return (struct bytes){(const uint8_t *)name, strlen(name)};
}

static void reply_entry(fuse_req_t req, const struct node_attr *attr)
{
    struct fuse_entry_param entry = mount_entry(mount_of(req), attr);
    fuse_reply_entry(req, &entry);
}

/* That there is no such name, which the kernel may believe for a while. */
static void reply_missing(fuse_req_t req)
{
    const struct fuse_entry_param none = {.entry_timeout = mount_of(req)->negative_seconds};
    fuse_reply_entry(req, &none);
}

static void reply_attr(fuse_req_t req, const struct node_attr *attr)
{
    struct stat st;
    reply_stat(attr, &st);
    told_attr(mount_of(req)->told, attr);
    fuse_reply_attr(req, &st, mount_of(req)->attr_seconds);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OP_TIMER(lookup);
    struct err e = ERR_INIT;
    struct node_attr attr;
    enum rc rc = vfs_lookup(mount_of(req)->vfs, parent, name_of(name), &attr, &e);
    if (!rc)
        reply_entry(req, &attr);
    else if (rc == RC_REFUSED && e.posix == ENOENT && mount_of(req)->negative_seconds > 0)
        reply_missing(req);
    else
        mount_reply_err(req, &e, "lookup", parent);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    OP_TIMER(getattr);
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (vfs_getattr(mount_of(req)->vfs, ino, &attr, &e))
        mount_reply_err(req, &e, "getattr", ino);
    else
        reply_attr(req, &attr);
}

static const struct {
    int fuse;
    uint32_t ours;
} setattr_bits[] = {
    {FUSE_SET_ATTR_MODE, SETATTR_MODE},
    {FUSE_SET_ATTR_UID, SETATTR_UID},
    {FUSE_SET_ATTR_GID, SETATTR_GID},
    {FUSE_SET_ATTR_SIZE, SETATTR_LENGTH},
    {FUSE_SET_ATTR_ATIME, SETATTR_ATIME},
    {FUSE_SET_ATTR_MTIME, SETATTR_MTIME},
    {FUSE_SET_ATTR_ATIME_NOW, SETATTR_ATIME_NOW},
    {FUSE_SET_ATTR_MTIME_NOW, SETATTR_MTIME_NOW},
};

static uint32_t setattr_mask(int to_set, uid_t caller)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < sizeof(setattr_bits) / sizeof(setattr_bits[0]); i++)
        if (to_set & setattr_bits[i].fuse)
            mask |= setattr_bits[i].ours;
    /* "now" also comes with the plain bit and the caller's clock: the database's is meant. */
    if (mask & SETATTR_ATIME_NOW)
        mask &= ~(uint32_t)SETATTR_ATIME;
    if (mask & SETATTR_MTIME_NOW)
        mask &= ~(uint32_t)SETATTR_MTIME;
    /* The kernel leaves clearing suid and sgid on truncation to us (HANDLE_KILLPRIV). */
    if ((mask & SETATTR_LENGTH) && caller != 0)
        mask |= SETATTR_KILL_SUID;
    return mask;
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                       UNUSED struct fuse_file_info *fi)
{
    OP_TIMER(setattr);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    const struct meta_setattr what = {
        .ino = ino,
        .mask = setattr_mask(to_set, ctx->uid),
        .mode = st->st_mode & 07777,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .length = (uint64_t)st->st_size,
        .atime = st->st_atim,
        .mtime = st->st_mtim,
        .caller_uid = ctx->uid,
        .caller_gid = ctx->gid,
    };
    struct err e = ERR_INIT;
    struct node_attr attr;
    /* A change of ctime alone has nothing to store: the answer is the inode as it is. */
    enum rc rc = what.mask ? vfs_setattr(mount_of(req)->vfs, &what, &attr, &e)
                           : vfs_getattr(mount_of(req)->vfs, ino, &attr, &e);
    if (rc)
        mount_reply_err(req, &e, "setattr", ino);
    else
        reply_attr(req, &attr);
}

static void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
    OP_TIMER(readlink);
    struct err e = ERR_INIT;
    auto_buf struct buf target;
    buf_init(&target, META_SYMLINK_MAX + 1);
    const char *text;
    if (vfs_readlink(mount_of(req)->vfs, ino, &target, &e) || buf_cstr(&target, &text, &e))
        mount_reply_err(req, &e, "readlink", ino);
    else
        fuse_reply_readlink(req, text);
}

/* mknod, mkdir and symlink: one verb. */
static void make_node(fuse_req_t req, fuse_ino_t parent, const char *name, enum node_type type,
                      mode_t mode, dev_t rdev, const char *target)
{
    OP_TIMER(mknod);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    const struct vfs_caller who = mount_caller(req);
    const struct meta_create what = {
        .parent = parent,
        .name = name_of(name),
        .type = type,
        .mode = mode & 07777,
        .umask = mount_umask(req),
        .uid = ctx->uid,
        .gid = ctx->gid,
        .rdev = (uint32_t)rdev,
        .target = target ? name_of(target) : (struct bytes){NULL, 0},
    };
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (type == 0)
        fuse_reply_err(req, EINVAL);
    else if (vfs_mknod(mount_of(req)->vfs, &who, &what, &attr, &e))
        mount_reply_err(req, &e, "mknod", parent);
    else
        reply_entry(req, &attr);
}

static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make_node(req, parent, name, reply_node_type(mode), mode, rdev, NULL);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make_node(req, parent, name, NODE_DIRECTORY, mode, 0, NULL);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make_node(req, parent, name, NODE_SYMLINK, 0777, 0, target);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OP_TIMER(unlink);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    (void)!vfs_unlink(mount_of(req)->vfs, &who, parent, name_of(name), &e);
    mount_reply_err(req, &e, "unlink", parent);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OP_TIMER(rmdir);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    (void)!vfs_rmdir(mount_of(req)->vfs, &who, parent, name_of(name), &e);
    mount_reply_err(req, &e, "rmdir", parent);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    OP_TIMER(rename);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    (void)!vfs_rename(mount_of(req)->vfs, &who, parent, name_of(name), new_parent,
                      name_of(new_name), flags, &e);
    mount_reply_err(req, &e, "rename", parent);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    OP_TIMER(link);
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (vfs_link(mount_of(req)->vfs, ino, parent, name_of(name), &attr, &e))
        mount_reply_err(req, &e, "link", ino);
    else
        reply_entry(req, &attr);
}

/* Without a capacity a volume shows 1 PiB, doubled until it looks at most 80 % full (§10). */
static uint64_t shown_total(uint64_t total, uint64_t used, uint64_t unlimited)
{
    if (total)
        return total;
    while (used > unlimited / 10 * 8)
        unlimited *= 2;
    return unlimited;
}

static void on_statfs(fuse_req_t req, UNUSED fuse_ino_t ino)
{
    OP_TIMER(statfs);
    struct err e = ERR_INIT;
    struct meta_statfs fs;
    if (vfs_statfs(mount_of(req)->vfs, &fs, &e)) {
        mount_reply_err(req, &e, "statfs", ino);
        return;
    }
    uint64_t space = shown_total(fs.total_space, fs.used_space, (uint64_t)1 << 50);
    uint64_t inodes = shown_total(fs.total_inodes, fs.used_inodes, 10 << 20);
    uint64_t free_space = space > fs.used_space ? space - fs.used_space : 0;
    uint64_t free_inodes = inodes > fs.used_inodes ? inodes - fs.used_inodes : 0;
    const struct statvfs st = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_blocks = space / 4096,
        .f_bfree = free_space / 4096,
        .f_bavail = free_space / 4096,
        .f_files = inodes,
        .f_ffree = free_inodes,
        .f_favail = free_inodes,
        .f_namemax = META_NAME_MAX,
    };
    fuse_reply_statfs(req, &st);
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    OP_TIMER(access);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    (void)!vfs_access(mount_of(req)->vfs, &who, ino, mask, &e);
    mount_reply_err(req, &e, "access", ino);
}

/* A size of 0 asks how large the answer is. */
static void reply_value(fuse_req_t req, const void *data, size_t have, size_t room)
{
    if (room == 0)
        fuse_reply_xattr(req, have);
    else if (have > room)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, data, have);
}

/*
 * Names that are answered without asking: the kernel wants security.capability before each write,
 * and ACLs need a volume that has them on.
 */
static int local_xattr_errno(const char *name)
{
    if (strncmp(name, "system.posix_acl_", 17) == 0)
        return EOPNOTSUPP;
    return strcmp(name, "security.capability") == 0 ? ENODATA : 0;
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    OP_TIMER(getxattr);
    struct mount *m = mount_of(req);
    char identity[256];
    int local = local_xattr_errno(name);
    if (local) {
        fuse_reply_err(req, local);
        return;
    }
    if (ino == META_ROOT && mount_identity(m, name, identity, sizeof(identity))) {
        reply_value(req, identity, strlen(identity), size);
        return;
    }
    struct err e = ERR_INIT;
    auto_buf struct buf value;
    buf_init(&value, META_XATTR_MAX);
    if (vfs_getxattr(m->vfs, ino, name, &value, &e))
        mount_reply_err(req, &e, "getxattr", ino);
    else
        reply_value(req, value.data, value.size, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    OP_TIMER(listxattr);
    struct err e = ERR_INIT;
    auto_buf struct buf names;
    buf_init(&names, META_XATTR_MAX);
    if (vfs_listxattr(mount_of(req)->vfs, ino, &names, &e))
        mount_reply_err(req, &e, "listxattr", ino);
    else
        reply_value(req, names.data, names.size, size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    OP_TIMER(setxattr);
    struct err e = ERR_INIT;
    if (strncmp(name, "system.posix_acl_", 17) == 0)
        err_refused(&e, EOPNOTSUPP, "POSIX ACLs are not on in this volume");
    else if (size > META_XATTR_MAX)
        err_refused(&e, E2BIG, "the value is longer than 64 KiB");
    else
        (void)!vfs_setxattr(mount_of(req)->vfs, ino, name,
                            (struct bytes){(const uint8_t *)value, size}, flags, &e);
    mount_reply_err(req, &e, "setxattr", ino);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    OP_TIMER(removexattr);
    struct err e = ERR_INIT;
    (void)!vfs_removexattr(mount_of(req)->vfs, ino, name, &e);
    mount_reply_err(req, &e, "removexattr", ino);
}

/* Nothing is kept for an inode that is not open, so there is nothing to forget. */
static void on_forget(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED uint64_t count)
{
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, UNUSED size_t count,
                            UNUSED struct fuse_forget_data *forgets)
{
    fuse_reply_none(req);
}

void ops_name_fill(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = on_lookup;
    ops->forget = on_forget;
    ops->forget_multi = on_forget_multi;
    ops->getattr = on_getattr;
    ops->setattr = on_setattr;
    ops->readlink = on_readlink;
    ops->mknod = on_mknod;
    ops->mkdir = on_mkdir;
    ops->symlink = on_symlink;
    ops->unlink = on_unlink;
    ops->rmdir = on_rmdir;
    ops->rename = on_rename;
    ops->link = on_link;
    ops->statfs = on_statfs;
    ops->access = on_access;
    ops->getxattr = on_getxattr;
    ops->listxattr = on_listxattr;
    ops->setxattr = on_setxattr;
    ops->removexattr = on_removexattr;
}
