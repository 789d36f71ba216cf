/*
 * Requests of chattr(1) and lsattr(1): the inode flags, in their old form (FS_IOC_GETFLAGS) and in
 * the form of XFS (FS_IOC_FSGETXATTR). The kernel checks who may set them before it asks us.
 *
 * As in stock clients, "s" (secure deletion) stands for what is deleted without going to the trash.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

OP_METRIC(ioctl)

/* The flags that this file knows; others that an inode has are left as they are. */
#define KNOWN_FLAGS ((uint32_t)(NODE_IMMUTABLE | NODE_APPEND | NODE_SKIP_TRASH))

static const struct {
    uint32_t ours, old_form, xfs_form; /* 0: that form has no such flag */
} flags[] = {
    {NODE_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {NODE_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND},
    {NODE_SKIP_TRASH, FS_SECRM_FL, 0},
};
#define FLAGS (sizeof(flags) / sizeof(flags[0]))

static uint32_t to_old_form(uint32_t ours)
{
    uint32_t theirs = 0;
    for (size_t i = 0; i < FLAGS; i++)
        theirs |= ours & flags[i].ours ? flags[i].old_form : 0;
    return theirs;
}

static uint32_t to_xfs_form(uint32_t ours)
{
    uint32_t theirs = 0;
    for (size_t i = 0; i < FLAGS; i++)
        theirs |= ours & flags[i].ours ? flags[i].xfs_form : 0;
    return theirs;
}

/* A flag that is not kept must not look as if it were. */
static enum rc from_old_form(uint64_t theirs, uint32_t *ours, struct err *e)
{
    *ours = 0;
    for (size_t i = 0; i < FLAGS; i++) {
        *ours |= theirs & flags[i].old_form ? flags[i].ours : 0;
        theirs &= ~(uint64_t)flags[i].old_form;
    }
    return theirs ? err_refused(e, EOPNOTSUPP, "a flag that is not kept") : RC_OK;
}

/* The old form is a long by its name and an int in practice: both sizes come. */
static enum rc read_old_form(const void *data, size_t size, uint32_t *ours, struct err *e)
{
    uint64_t wide;
    uint32_t narrow;
    if (size == sizeof(wide))
        memcpy(&wide, data, sizeof(wide));
    else if (size == sizeof(narrow)) {
        memcpy(&narrow, data, sizeof(narrow));
        wide = narrow;
    } else
        return err_refused(e, EINVAL, "flags of %zu bytes", size);
    return from_old_form(wide, ours, e);
}

/* What this form cannot say stays as it is. */
static enum rc read_xfs_form(const void *data, size_t size, uint32_t *ours, struct err *e)
{
    struct fsxattr theirs;
    if (size != sizeof(theirs))
        return err_refused(e, EINVAL, "a fsxattr of %zu bytes", size);
    memcpy(&theirs, data, sizeof(theirs));
    if (theirs.fsx_extsize || theirs.fsx_cowextsize || theirs.fsx_projid)
        return err_refused(e, EOPNOTSUPP, "extent sizes and project ids are not kept");
    *ours &= NODE_SKIP_TRASH;
    for (size_t i = 0; i < FLAGS; i++) {
        *ours |= theirs.fsx_xflags & flags[i].xfs_form ? flags[i].ours : 0;
        theirs.fsx_xflags &= ~flags[i].xfs_form;
    }
    return theirs.fsx_xflags & ~(uint32_t)FS_XFLAG_HASATTR
               ? err_refused(e, EOPNOTSUPP, "a flag that is not kept")
               : RC_OK;
}

static void get_flags(fuse_req_t req, fuse_ino_t ino, bool is_old_form, size_t room)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (vfs_getattr(mount_of(req)->vfs, ino, &attr, &e)) {
        mount_reply_err(req, &e, "ioctl", ino);
        return;
    }
    const uint64_t old_form = to_old_form(attr.flags); /* little-endian: its start is the int */
    const struct fsxattr xfs_form = {.fsx_xflags = to_xfs_form(attr.flags)};
    const void *answer = is_old_form ? (const void *)&old_form : &xfs_form;
    const size_t size = is_old_form ? sizeof(old_form) : sizeof(xfs_form);
    fuse_reply_ioctl(req, 0, answer, room < size ? room : size);
}

static enum rc set_flags(fuse_req_t req, fuse_ino_t ino, bool is_old_form, const void *data,
                         size_t size, struct err *e)
{
    const struct vfs_caller who = mount_caller(req);
    struct vfs *vfs = mount_of(req)->vfs;
    struct node_attr attr;
    if (permit_owner(vfs, &who, ino, e) || vfs_getattr(vfs, ino, &attr, e))
        return e->code;
    uint32_t wanted = attr.flags;
    if (is_old_form ? read_old_form(data, size, &wanted, e) : read_xfs_form(data, size, &wanted, e))
        return e->code;
    const struct meta_setattr what = {
        .ino = ino,
        .mask = SETATTR_FLAGS,
        .flags = (attr.flags & ~KNOWN_FLAGS) | wanted,
        .caller_uid = who.uid,
        .caller_gid = who.gid,
    };
    return vfs_setattr(vfs, &what, &attr, e);
}

static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, UNUSED void *arg,
                     UNUSED struct fuse_file_info *fi, UNUSED unsigned request_flags,
                     const void *in, size_t in_size, size_t out_size)
{
    OP_TIMER(ioctl);
    struct err e = ERR_INIT;
    switch (command) {
    case FS_IOC_GETFLAGS:
    case FS_IOC32_GETFLAGS:
        get_flags(req, ino, true, out_size);
        return;
    case FS_IOC_FSGETXATTR:
        get_flags(req, ino, false, out_size);
        return;
    case FS_IOC_SETFLAGS:
    case FS_IOC32_SETFLAGS:
        (void)!set_flags(req, ino, true, in, in_size, &e);
        break;
    case FS_IOC_FSSETXATTR:
        (void)!set_flags(req, ino, false, in, in_size, &e);
        break;
    default:
        fuse_reply_err(req, ENOTTY);
        return;
    }
    if (e.code)
        mount_reply_err(req, &e, "ioctl", ino);
    else
        fuse_reply_ioctl(req, 0, NULL, 0);
}

void ops_ioctl_fill(struct fuse_lowlevel_ops *ops)
{
    ops->ioctl = on_ioctl;
}
