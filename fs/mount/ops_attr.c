/*
 * Requests about attributes, permissions and the file system as a whole.
 */
#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

OP_METRIC(getattr)
OP_METRIC(setattr)
OP_METRIC(access)
OP_METRIC(statfs)

static void reply_attr(fuse_req_t req, const struct node_attr *attr, double seconds)
{
    struct stat st;
    mount_stat(mount_of(req), attr, &st);
    fuse_reply_attr(req, &st, seconds);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    OP_TIMER(getattr);
    struct err e = ERR_INIT;
    struct node_attr attr;
    uint64_t valid_ms;
    const struct mount *m = mount_of(req);
    if (vfs_getattr_owed(m->vfs, ino, &attr, &valid_ms))
        reply_attr(req, &attr, (double)valid_ms / 1000);
    else if (vfs_getattr(m->vfs, ino, &attr, &e))
        mount_reply_err(req, &e, "getattr", ino);
    else
        reply_attr(req, &attr, m->attr_seconds);
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
                       struct fuse_file_info *fi)
{
    OP_TIMER(setattr);
    struct mount *m = mount_of(req);
    const struct vfs_caller who = mount_caller(req);
    struct meta_setattr what = {
        .ino = ino,
        .mask = setattr_mask(to_set, who.uid),
        .mode = st->st_mode & 07777,
        .uid = ids_user_in(m->ids, st->st_uid),
        .gid = ids_group_in(m->ids, st->st_gid),
        .length = (uint64_t)st->st_size,
        .atime = st->st_atim,
        .mtime = st->st_mtim,
        .caller_uid = who.uid,
        .caller_gid = who.gid,
    };
    struct err e = ERR_INIT;
    struct node_attr attr;
    enum rc rc = permit_setattr(m->vfs, &who, &what, fi != NULL, &e);
    /* A change of ctime alone has nothing to store: the answer is the inode as it is. */
    if (!rc)
        rc =
            what.mask ? vfs_setattr(m->vfs, &what, &attr, &e) : vfs_getattr(m->vfs, ino, &attr, &e);
    if (rc)
        mount_reply_err(req, &e, "setattr", ino);
    else
        reply_attr(req, &attr, m->attr_seconds);
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    OP_TIMER(access);
    struct err e = ERR_INIT;
    const struct vfs_caller who = mount_caller(req);
    struct vfs *vfs = mount_of(req)->vfs;
    (void)!(who.is_squashed ? permit_access(vfs, &who, ino, (unsigned)mask & 7, &e)
                            : vfs_access(vfs, &who, ino, mask, &e));
    mount_reply_err(req, &e, "access", ino);
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

static uint64_t shown_free(uint64_t total, uint64_t used, uint64_t room)
{
    const uint64_t left = total > used ? total - used : 0;
    return left < room ? left : room;
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    OP_TIMER(statfs);
    struct err e = ERR_INIT;
    struct meta_statfs fs;
    struct meta_quota_room room;
    if (vfs_statfs(mount_of(req)->vfs, ino, &fs, &room, &e)) {
        mount_reply_err(req, &e, "statfs", ino);
        return;
    }
    uint64_t space = shown_total(fs.total_space, fs.used_space, (uint64_t)1 << 50);
    uint64_t inodes = shown_total(fs.total_inodes, fs.used_inodes, 10 << 20);
    const uint64_t free_space = shown_free(space, fs.used_space, room.space);
    const uint64_t free_inodes = shown_free(inodes, fs.used_inodes, room.inodes);
    /* A directory with a quota looks like a file system of its own. */
    if (room.has_quota) {
        space = room.used_space + free_space;
        inodes = room.used_inodes + free_inodes;
    }
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

void ops_attr_fill(struct fuse_lowlevel_ops *ops)
{
    ops->getattr = on_getattr;
    ops->setattr = on_setattr;
    ops->access = on_access;
    ops->statfs = on_statfs;
}
