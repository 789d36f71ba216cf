/*
 * Requests about names. Each handler turns the kernel's words into one verb of the
 * vfs and replies exactly once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

/* Of Linux: a task is in no more groups. */
#define GROUPS_MAX 65536

OP_METRIC(lookup)
OP_METRIC(readlink)
OP_METRIC(mknod)
OP_METRIC(unlink)
OP_METRIC(rmdir)
OP_METRIC(rename)
OP_METRIC(link)

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
    mount_stat(m, attr, &entry.attr);
    told_name(m->told, attr);
    return entry;
}

void mount_stat(const struct mount *m, const struct node_attr *attr, struct stat *out)
{
    reply_stat(attr, out);
    out->st_uid = ids_user_out(m->ids, attr->uid);
    out->st_gid = ids_group_out(m->ids, attr->gid);
    told_attr(m->told, attr);
}

struct vfs_caller mount_caller(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    return ids_caller(mount_of(req)->ids, ctx->uid, ctx->gid, (uint32_t)ctx->pid);
}

/* The supplementary groups behind the first place of *gids, in the numbers of this machine. */
static size_t read_groups(fuse_req_t req, gid_t **gids)
{
    for (int room = 32, count; room <= GROUPS_MAX; room = count) {
        gid_t *more = realloc(*gids, ((size_t)room + 1) * sizeof(*more));
        if (!more)
            return 0;
        *gids = more;
        count = fuse_req_getgroups(req, room, more + 1);
        /* A caller that is gone by now belongs to its main group as far as we know. */
        if (count <= room)
            return count > 0 ? (size_t)count : 0;
    }
    return 0;
}

size_t mount_groups(fuse_req_t req, uint32_t **out)
{
    const struct vfs_caller who = mount_caller(req);
    gid_t *gids = malloc(sizeof(*gids));
    *out = NULL;
    if (!gids)
        return 0;
    const size_t others = who.is_squashed ? 0 : read_groups(req, &gids);
    for (size_t i = 1; i <= others; i++)
        gids[i] = ids_group_in(mount_of(req)->ids, gids[i]);
    gids[0] = who.gid;
    *out = gids;
    return others + 1;
}

uint32_t mount_creator_gid(fuse_req_t req, const struct vfs_caller *who, fuse_ino_t parent,
                           mode_t mode)
{
    struct err e = ERR_INIT;
    struct node_attr dir;
    const mode_t privileged = S_ISGID | S_IXGRP;
    if ((mode & privileged) != privileged || who->uid == 0 ||
        vfs_getattr(mount_of(req)->vfs, parent, &dir, &e) || !(dir.mode & S_ISGID))
        return who->gid;
    auto_free uint32_t *gids = NULL;
    const size_t count = mount_groups(req, &gids);
    for (size_t i = 0; i < count; i++)
        if (gids[i] == dir.gid)
            return dir.gid;
    return who->gid;
}

uint32_t mount_umask(fuse_req_t req)
{
    const int given = mount_of(req)->umask;
    return given >= 0 ? (uint32_t)given : fuse_req_ctx(req)->umask;
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

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OP_TIMER(lookup);
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    enum rc rc = permit_access(vfs, &who, parent, PERMIT_EXEC, &e);
    if (!rc)
        rc = vfs_lookup(vfs, parent, mount_name(name), &attr, &e);
    if (!rc)
        reply_entry(req, &attr);
    else if (rc == RC_REFUSED && e.posix == ENOENT && mount_of(req)->negative_seconds > 0)
        reply_missing(req);
    else
        mount_reply_err(req, &e, "lookup", parent);
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
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    const struct meta_create what = {
        .parent = parent,
        .name = mount_name(name),
        .type = type,
        .mode = mode & 07777,
        .umask = mount_umask(req),
        .uid = who.uid,
        .gid = type == NODE_FILE ? mount_creator_gid(req, &who, parent, mode) : who.gid,
        .rdev = (uint32_t)rdev,
        .target = target ? mount_name(target) : (struct bytes){NULL, 0},
    };
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (type == 0)
        fuse_reply_err(req, EINVAL);
    else if (permit_add(vfs, &who, parent, &e) || vfs_mknod(vfs, &who, &what, &attr, &e))
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
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    if (!permit_remove(vfs, &who, parent, mount_name(name), &e))
        (void)!vfs_unlink(vfs, &who, parent, mount_name(name), &e);
    mount_reply_err(req, &e, "unlink", parent);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    OP_TIMER(rmdir);
    struct err e = ERR_INIT;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    if (!permit_remove(vfs, &who, parent, mount_name(name), &e))
        (void)!vfs_rmdir(vfs, &who, parent, mount_name(name), &e);
    mount_reply_err(req, &e, "rmdir", parent);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    OP_TIMER(rename);
    struct err e = ERR_INIT;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    const struct bytes from = mount_name(name), to = mount_name(new_name);
    if (!permit_remove(vfs, &who, parent, from, &e) &&
        !permit_remove(vfs, &who, new_parent, to, &e))
        (void)!vfs_rename(vfs, &who, parent, from, new_parent, to, flags, &e);
    mount_reply_err(req, &e, "rename", parent);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    OP_TIMER(link);
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    if (permit_add(vfs, &who, parent, &e) ||
        vfs_link(vfs, ino, parent, mount_name(name), &attr, &e))
        mount_reply_err(req, &e, "link", ino);
    else
        reply_entry(req, &attr);
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
    ops->readlink = on_readlink;
    ops->mknod = on_mknod;
    ops->mkdir = on_mkdir;
    ops->symlink = on_symlink;
    ops->unlink = on_unlink;
    ops->rmdir = on_rmdir;
    ops->rename = on_rename;
    ops->link = on_link;
}
