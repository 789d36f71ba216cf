/*
 * Attributes and extended attributes of one inode.
 */
#include "fs/vfs/inode.h"
#include "fs/vfs/names.h"
#include "fs/vfs/writer.h"

enum rc vfs_getattr(struct vfs *vfs, ino_num ino, struct node_attr *out, struct err *e)
{
    const uint64_t asking = dirs_asking(vfs->dirs);
    enum rc rc = meta_getattr(vfs->meta, vfs_inside(vfs, ino), out, e);
    if (rc)
        return rc;
    dirs_learn(vfs->dirs, asking, out);
    names_outward(vfs, out);
    return RC_OK;
}

bool vfs_getattr_owed(struct vfs *vfs, ino_num ino, struct node_attr *out, uint64_t *valid_ms)
{
    if (!dirs_owed(vfs->dirs, vfs_inside(vfs, ino), out, valid_ms))
        return false;
    names_outward(vfs, out);
    return true;
}

/* ---- setattr ---- */

/* A change of this inode, which began with dirs_begin(), has ended. */
static void change_ended(struct vfs *vfs, ino_num ino)
{
    dirs_forget(vfs->dirs, ino);
    recent_inode(vfs->recent, ino);
}

static void data_changed(struct vfs *vfs, struct inode *in, const struct node_attr *attr)
{
    if (in) {
        LOCK_SCOPE(&in->lock);
        inode_changed_locked(in, attr);
    } else {
        LOCK_SCOPE(&vfs->table);
        keep_remove(vfs->keep, attr->ino);
    }
}

/* Cut or extend: nothing may be written between the flush and the new length. */
static enum rc set_length(struct vfs *vfs, struct inode *in, const struct meta_setattr *what,
                          struct node_attr *out, struct err *e)
{
    enum rc rc = in ? writer_pause(in, e) : RC_OK;
    if (rc)
        return rc;
    rc = meta_setattr(vfs->meta, what, out, e);
    if (!rc)
        data_changed(vfs, in, out);
    if (in)
        writer_resume(in);
    return rc;
}

static bool is_lost(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    return in->writer.lost != NULL;
}

/*
 * A commit that came after this call would set the times again and clear the suid bit that it may
 * have set, so what is pending goes first.
 */
static enum rc flush_pending(struct inode *in, struct err *e)
{
    return in && !is_lost(in) ? writer_flush(in, e) : RC_OK;
}

enum rc vfs_setattr(struct vfs *vfs, const struct meta_setattr *what, struct node_attr *out,
                    struct err *e)
{
    struct meta_setattr inside = *what;

    if (vfs_check_writable(vfs, e))
        return e->code;
    inside.ino = vfs_inside(vfs, what->ino);
    auto_inode struct inode *in = inode_find(vfs, inside.ino);
    /* Programs unlink a temporary file right after they opened it, and go on working with it. */
    if (in)
        inside.mask |= SETATTR_BY_HANDLE;
    enum rc rc = RC_OK;
    dirs_begin(vfs->dirs, inside.ino);
    if (what->mask & SETATTR_LENGTH)
        rc = set_length(vfs, in, &inside, out, e);
    else if (!flush_pending(in, e))
        rc = meta_setattr(vfs->meta, &inside, out, e);
    else
        rc = e->code;
    change_ended(vfs, inside.ino);
    if (!rc)
        names_outward(vfs, out);
    return rc;
}

enum rc vfs_setfacl(struct vfs *vfs, const struct meta_setfacl *what, struct node_attr *out,
                    struct err *e)
{
    struct meta_setfacl inside = *what;

    if (vfs_check_writable(vfs, e))
        return e->code;
    inside.ino = vfs_inside(vfs, what->ino);
    auto_inode struct inode *in = inode_find(vfs, inside.ino);
    enum rc rc = flush_pending(in, e);
    dirs_begin(vfs->dirs, inside.ino);
    if (!rc)
        rc = meta_setfacl(vfs->meta, &inside, out, e);
    change_ended(vfs, inside.ino);
    if (!rc)
        names_outward(vfs, out);
    return rc;
}

/* ---- the rest goes straight through ---- */

enum rc vfs_statfs(struct vfs *vfs, ino_num ino, struct meta_statfs *out,
                   struct meta_quota_room *room, struct err *e)
{
    *room = (struct meta_quota_room){.space = META_NO_LIMIT, .inodes = META_NO_LIMIT};
    if (vfs->has_fast_statfs && meta_statfs_known(vfs->meta, out))
        return RC_OK;
    return meta_statfs_at(vfs->meta, vfs_inside(vfs, ino), out, room, e);
}

enum rc vfs_access(struct vfs *vfs, const struct vfs_caller *who, ino_num ino, int mask,
                   struct err *e)
{
    return meta_access(vfs->meta, vfs_inside(vfs, ino), who->uid, &who->gid, 1, mask, e);
}

enum rc vfs_getxattr(struct vfs *vfs, ino_num ino, const char *name, struct buf *out, struct err *e)
{
    return meta_getxattr(vfs->meta, vfs_inside(vfs, ino), name, out, e);
}

enum rc vfs_listxattr(struct vfs *vfs, ino_num ino, struct buf *out, struct err *e)
{
    return meta_listxattr(vfs->meta, vfs_inside(vfs, ino), out, e);
}

enum rc vfs_setxattr(struct vfs *vfs, ino_num ino, const char *name, struct bytes value, int flags,
                     struct err *e)
{
    if (vfs_check_writable(vfs, e))
        return e->code;
    const ino_num inside = vfs_inside(vfs, ino);
    dirs_begin(vfs->dirs, inside);
    enum rc rc = meta_setxattr(vfs->meta, inside, name, value, flags, e);
    change_ended(vfs, inside);
    return rc;
}

enum rc vfs_removexattr(struct vfs *vfs, ino_num ino, const char *name, struct err *e)
{
    if (vfs_check_writable(vfs, e))
        return e->code;
    const ino_num inside = vfs_inside(vfs, ino);
    dirs_begin(vfs->dirs, inside);
    enum rc rc = meta_removexattr(vfs->meta, inside, name, e);
    change_ended(vfs, inside);
    return rc;
}
