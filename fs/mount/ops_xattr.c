/*
 * Requests about extended attributes.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"

OP_METRIC(getxattr)
OP_METRIC(setxattr)
OP_METRIC(listxattr)
OP_METRIC(removexattr)

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

void ops_xattr_fill(struct fuse_lowlevel_ops *ops)
{
    ops->getxattr = on_getxattr;
    ops->listxattr = on_listxattr;
    ops->setxattr = on_setxattr;
    ops->removexattr = on_removexattr;
}
