/*
 * Requests about extended attributes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

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

/* The kernel wants it before each write, and no volume keeps it. */
static bool is_capability(const char *name)
{
    return strcmp(name, "security.capability") == 0;
}

/* ---- access control lists ---- */

static const struct {
    const char *name;
    enum acl_type type;
} acl_names[] = {
    {"system.posix_acl_access", ACL_ACCESS},
    {"system.posix_acl_default", ACL_DEFAULT},
};

/* Which list a name is of; 0: it is no list. */
static int acl_type_of(const char *name)
{
    for (size_t i = 0; i < sizeof(acl_names) / sizeof(acl_names[0]); i++)
        if (strcmp(name, acl_names[i].name) == 0)
            return (int)acl_names[i].type;
    return 0;
}

/* The number of a list, by an exchange when it was not told lately. 0: there is none. */
static enum rc acl_id(struct mount *m, fuse_ino_t ino, enum acl_type type, uint32_t *id,
                      struct err *e)
{
    struct node_attr attr;
    if (told_acl(m->told, ino, type, id))
        return RC_OK;
    if (vfs_getattr(m->vfs, ino, &attr, e))
        return e->code;
    *id = type == ACL_ACCESS ? attr.access_acl : attr.default_acl;
    return RC_OK;
}

/* Append the list as the kernel reads it. */
static enum rc read_acl(struct mount *m, fuse_ino_t ino, enum acl_type type, struct buf *out,
                        struct err *e)
{
    uint32_t id = 0;
    auto_free struct acl_rule *rule = NULL;
    if (!m->has_acls)
        return err_refused(e, EOPNOTSUPP, "POSIX ACLs are not on in this volume");
    if (acl_id(m, ino, type, &id, e))
        return e->code;
    if (id == 0)
        return err_refused(e, ENODATA, "there is no such list");
    if (vfs_acl_rule(m->vfs, id, &rule, e))
        return e->code;
    ids_rule_out(m->ids, rule);
    return acl_to_attribute(rule, out, e);
}

/* rule NULL: remove the list. */
static enum rc write_acl(fuse_req_t req, fuse_ino_t ino, enum acl_type type,
                         const struct acl_rule *rule, struct err *e)
{
    struct mount *m = mount_of(req);
    struct node_attr attr;
    auto_free uint32_t *gids = NULL;
    struct meta_setfacl what = {
        .ino = ino, .type = type, .rule = rule, .caller_uid = mount_caller(req).uid};
    if (!m->has_acls)
        return err_refused(e, EOPNOTSUPP, "POSIX ACLs are not on in this volume");
    if (what.caller_uid != 0)
        what.caller_gid_count = mount_groups(req, &gids);
    what.caller_gids = gids;
    enum rc rc = vfs_setfacl(m->vfs, &what, &attr, e);
    if (!rc)
        told_attr(m->told, &attr);
    return rc;
}

static enum rc set_acl(fuse_req_t req, fuse_ino_t ino, enum acl_type type, struct bytes value,
                       struct err *e)
{
    auto_free struct acl_rule *rule = NULL;
    if (acl_from_attribute(value, &rule, e))
        return e->code;
    if (rule)
        ids_rule_in(mount_of(req)->ids, rule);
    return write_acl(req, ino, type, rule, e);
}

/* Append the names of the lists, which are kept apart from the other attributes. */
static enum rc list_acls(struct mount *m, fuse_ino_t ino, struct buf *out, struct err *e)
{
    for (size_t i = 0; m->has_acls && i < sizeof(acl_names) / sizeof(acl_names[0]); i++) {
        uint32_t id = 0;
        if (acl_id(m, ino, acl_names[i].type, &id, e))
            return e->code;
        if (id && buf_add(out, acl_names[i].name, strlen(acl_names[i].name) + 1, e))
            return e->code;
    }
    return RC_OK;
}

/* ---- requests ---- */

static enum rc read_xattr(struct mount *m, fuse_ino_t ino, const char *name, struct buf *out,
                          struct err *e)
{
    char identity[256];
    const int type = acl_type_of(name);
    if (is_capability(name))
        return err_refused(e, ENODATA, "capabilities of files are not kept");
    if (type)
        return read_acl(m, ino, (enum acl_type)type, out, e);
    if (ino == META_ROOT && mount_identity(m, name, identity, sizeof(identity)))
        return buf_add_str(out, identity, e);
    return vfs_getxattr(m->vfs, ino, name, out, e);
}

/* Who may write a file may set its user attributes; all others are the owner's. */
static bool is_users(const char *name)
{
    return strncmp(name, "user.", 5) == 0;
}

static enum rc permit_change(struct vfs *vfs, const struct vfs_caller *who, fuse_ino_t ino,
                             const char *name, struct err *e)
{
    return is_users(name) ? permit_access(vfs, who, ino, PERMIT_WRITE, e)
                          : permit_owner(vfs, who, ino, e);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    OP_TIMER(getxattr);
    struct err e = ERR_INIT;
    auto_buf struct buf value;
    buf_init(&value, ACL_BYTES_MAX);
    const struct vfs_caller who = mount_caller(req);
    if ((is_users(name) && permit_access(mount_of(req)->vfs, &who, ino, PERMIT_READ, &e)) ||
        read_xattr(mount_of(req), ino, name, &value, &e))
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
    if (vfs_listxattr(mount_of(req)->vfs, ino, &names, &e) ||
        list_acls(mount_of(req), ino, &names, &e))
        mount_reply_err(req, &e, "listxattr", ino);
    else
        reply_value(req, names.data, names.size, size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    OP_TIMER(setxattr);
    struct err e = ERR_INIT;
    const struct bytes bytes = {(const uint8_t *)value, size};
    const struct vfs_caller who = mount_caller(req);
    const int type = acl_type_of(name);
    if (size > META_XATTR_MAX)
        err_refused(&e, E2BIG, "the value is longer than 64 KiB");
    else if (permit_change(mount_of(req)->vfs, &who, ino, name, &e))
        (void)0;
    else if (type)
        (void)!set_acl(req, ino, (enum acl_type)type, bytes, &e);
    else
        (void)!vfs_setxattr(mount_of(req)->vfs, ino, name, bytes, flags, &e);
    mount_reply_err(req, &e, "setxattr", ino);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    OP_TIMER(removexattr);
    struct err e = ERR_INIT;
    const int type = acl_type_of(name);
    const struct vfs_caller who = mount_caller(req);
    if (permit_change(mount_of(req)->vfs, &who, ino, name, &e))
        (void)0;
    else if (type)
        (void)!write_acl(req, ino, (enum acl_type)type, NULL, &e);
    else
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
