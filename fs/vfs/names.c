#include "fs/vfs/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/vfs/atime.h"
#include "fs/vfs/chore.h"
#include "fs/vfs/inode.h"

/* ---- outward ---- */

static struct dir_parent *parent_slot(const struct vfs *vfs, ino_num dir)
{
    return &vfs->parents[hash_u64(dir) % DIR_PARENTS];
}

static void remember_parent(struct vfs *vfs, const struct node_attr *attr)
{
    LOCK_SCOPE(&vfs->table);
    *parent_slot(vfs, attr->ino) = (struct dir_parent){attr->ino, attr->parent};
}

void names_outward(struct vfs *vfs, struct node_attr *attr)
{
    inode_overlay(vfs, attr);
    if (attr->ino == vfs->root)
        attr->ino = attr->parent = META_ROOT;
    else if (attr->parent == vfs->root)
        attr->parent = META_ROOT;
    if (attr->type == NODE_DIRECTORY)
        remember_parent(vfs, attr);
}

static bool known_parent(struct vfs *vfs, ino_num dir, ino_num *out)
{
    LOCK_SCOPE(&vfs->table);
    const struct dir_parent *slot = parent_slot(vfs, dir);
    *out = slot->parent;
    return slot->dir == dir;
}

enum rc names_parent(struct vfs *vfs, ino_num dir, ino_num *out, struct err *e)
{
    struct node_attr attr;

    *out = META_ROOT;
    if (dir == META_ROOT || known_parent(vfs, dir, out))
        return RC_OK;
    enum rc rc = vfs_getattr(vfs, dir, &attr, e);
    if (!rc)
        *out = attr.parent;
    return rc;
}

static enum rc outward(struct vfs *vfs, enum rc rc, struct node_attr *attr)
{
    if (!rc)
        names_outward(vfs, attr);
    return rc;
}

/* ---- special names ---- */

static bool is_name(struct bytes name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.data, text, name.size) == 0;
}

/* The trash has no edge: only its name under the volume's own root leads to it. */
static bool is_trash(const struct vfs *vfs, ino_num parent, struct bytes name)
{
    return vfs_inside(vfs, parent) == META_ROOT && is_name(name, ".trash");
}

static enum rc check_change(const struct vfs *vfs, ino_num parent, struct bytes name, struct err *e)
{
    if (vfs_check_writable(vfs, e))
        return e->code;
    if (is_trash(vfs, parent, name))
        return err_refused(e, EPERM, "\".trash\" belongs to the volume");
    return RC_OK;
}

/* ---- verbs ---- */

enum rc vfs_lookup(struct vfs *vfs, ino_num parent, struct bytes name, struct node_attr *out,
                   struct err *e)
{
    ino_num above;

    if (is_name(name, "."))
        return vfs_getattr(vfs, parent, out, e);
    if (is_name(name, "..")) {
        enum rc rc = names_parent(vfs, parent, &above, e);
        return rc ? rc : vfs_getattr(vfs, above, out, e);
    }
    if (is_trash(vfs, parent, name))
        return vfs_getattr(vfs, META_TRASH, out, e);
    const uint64_t asking = dirs_asking(vfs->dirs);
    enum rc rc = meta_lookup(vfs->meta, vfs_inside(vfs, parent), name, out, e);
    if (!rc)
        dirs_learn(vfs->dirs, asking, out);
    return outward(vfs, rc, out);
}

/* ---- changes ---- */

/* A name in a directory. */
struct edge {
    ino_num dir;
    struct bytes name;
};

/* A change of an edge has ended; attr is the inode that it leads to now, or did. */
static void change_ended(struct vfs *vfs, struct edge edge, enum rc rc,
                         const struct node_attr *attr, int links)
{
    const ino_num dir = edge.dir;
    recent_name(vfs->recent, dir, edge.name);
    recent_inode(vfs->recent, dir);
    recent_inode(vfs->recent, attr->ino);
    if (rc == RC_OK && dir < META_TRASH)
        dirs_changed(vfs->dirs, dir, attr->ctime, links);
    else if (rc == RC_REFUSED)
        dirs_unchanged(vfs->dirs, dir);
    else
        dirs_forget(vfs->dirs, dir);
}

/* An inode has changed in ways that are not known here. */
static void forget_one(struct vfs *vfs, ino_num ino)
{
    dirs_begin(vfs->dirs, ino);
    dirs_forget(vfs->dirs, ino);
}

enum rc names_create(struct vfs *vfs, const struct meta_create *what, struct node_attr *out,
                     struct err *e)
{
    struct meta_create inside = *what;

    *out = (struct node_attr){0};
    enum rc rc = check_change(vfs, what->parent, what->name, e);
    if (rc)
        return rc;
    inside.parent = vfs_inside(vfs, what->parent);
    const uint64_t asking = dirs_asking(vfs->dirs);
    dirs_begin(vfs->dirs, inside.parent);
    rc = meta_create(vfs->meta, &inside, out, e);
    change_ended(vfs, (struct edge){inside.parent, what->name}, rc, out,
                 what->type == NODE_DIRECTORY);
    if (!rc)
        dirs_learn(vfs->dirs, asking, out);
    return rc;
}

enum rc vfs_mknod(struct vfs *vfs, const struct vfs_caller *who, const struct meta_create *what,
                  struct node_attr *out, struct err *e)
{
    (void)who; /* its ids are in *what already */
    return outward(vfs, names_create(vfs, what, out, e), out);
}

enum rc vfs_unlink(struct vfs *vfs, const struct vfs_caller *who, ino_num parent, struct bytes name,
                   struct err *e)
{
    auto_free ino_num *opened = NULL;
    size_t count = 0;
    struct node_attr attr = {0};

    const ino_num dir = vfs_inside(vfs, parent);
    enum rc rc = check_change(vfs, parent, name, e);
    if (!rc)
        rc = inode_list_opened(vfs, &opened, &count, e);
    if (rc)
        return rc;
    dirs_begin(vfs->dirs, dir);
    rc = meta_unlink(vfs->meta, dir, name, opened, count, who->uid, &attr, e);
    change_ended(vfs, (struct edge){dir, name}, rc, &attr, 0);
    if (rc || attr.nlink != 0)
        return rc;
    inode_orphaned(vfs, attr.ino);
    chore_removed(vfs, true);
    return RC_OK;
}

enum rc vfs_rmdir(struct vfs *vfs, const struct vfs_caller *who, ino_num parent, struct bytes name,
                  struct err *e)
{
    const ino_num dir = vfs_inside(vfs, parent);
    struct node_attr attr = {0};

    enum rc rc = check_change(vfs, parent, name, e);
    if (rc)
        return rc;
    dirs_begin(vfs->dirs, dir);
    rc = meta_rmdir(vfs->meta, dir, name, who->uid, &attr, e);
    change_ended(vfs, (struct edge){dir, name}, rc, &attr, -1);
    if (!rc)
        forget_one(vfs, attr.ino); /* in the trash it lives on */
    return rc;
}

/* ---- rename ---- */

/*
 * What a rename did to its directories is known where a file was moved: then their links are as
 * before. Of a directory it is not (it may have replaced another), nor of a file with several
 * names, which may have been a name of the target already.
 */
static bool is_plain_move(const struct node_attr *moved, uint32_t flags)
{
    return (flags & RENAME_EXCHANGE) == 0 && moved->type != NODE_DIRECTORY && moved->nlink == 1;
}

static void rename_ended(struct vfs *vfs, struct edge from, struct edge to, enum rc rc,
                         const struct node_attr *moved, uint32_t flags)
{
    const bool is_known = rc == RC_REFUSED || is_plain_move(moved, flags);
    const enum rc outcome = is_known ? rc : RC_UNCERTAIN;
    change_ended(vfs, from, outcome, moved, 0);
    if (to.dir != from.dir)
        change_ended(vfs, to, outcome, moved, 0);
    else
        recent_name(vfs->recent, to.dir, to.name);
    if (flags & RENAME_EXCHANGE)
        dirs_clear(vfs->dirs); /* which inode came back the reply does not say */
    else
        forget_one(vfs, moved->ino);
}

enum rc vfs_rename(struct vfs *vfs, const struct vfs_caller *who, ino_num parent, struct bytes name,
                   ino_num new_parent, struct bytes new_name, uint32_t flags, struct err *e)
{
    auto_free ino_num *opened = NULL;
    size_t count = 0;
    struct node_attr attr = {0};

    const ino_num from = vfs_inside(vfs, parent), to = vfs_inside(vfs, new_parent);
    enum rc rc = check_change(vfs, parent, name, e);
    if (!rc)
        rc = check_change(vfs, new_parent, new_name, e);
    if (!rc)
        rc = inode_list_opened(vfs, &opened, &count, e);
    if (rc)
        return rc;
    dirs_begin(vfs->dirs, from);
    if (to != from)
        dirs_begin(vfs->dirs, to);
    rc = meta_rename(vfs->meta, from, name, to, new_name, flags, opened, count, who->uid, &attr, e);
    rename_ended(vfs, (struct edge){from, name}, (struct edge){to, new_name}, rc, &attr, flags);
    if (rc)
        return rc;
    /* Which inode was replaced, if any, the reply does not say. */
    if (flags == 0 && count)
        inode_suspect_in(vfs, to);
    if (flags == 0)
        chore_removed(vfs, false);
    names_outward(vfs, &attr);
    return RC_OK;
}

enum rc vfs_link(struct vfs *vfs, ino_num ino, ino_num parent, struct bytes name,
                 struct node_attr *out, struct err *e)
{
    enum rc rc = check_change(vfs, parent, name, e);
    if (rc)
        return rc;
    const ino_num dir = vfs_inside(vfs, parent);
    dirs_begin(vfs->dirs, dir);
    rc = meta_link(vfs->meta, vfs_inside(vfs, ino), dir, name, out, e);
    change_ended(vfs, (struct edge){dir, name}, rc, out, 0);
    if (!rc)
        inode_named(vfs, out->ino);
    return outward(vfs, rc, out);
}

enum rc vfs_readlink(struct vfs *vfs, ino_num ino, struct buf *out, struct err *e)
{
    enum rc rc = meta_readlink(vfs->meta, vfs_inside(vfs, ino), out, e);
    if (!rc)
        atime_read_ino(vfs, vfs_inside(vfs, ino));
    return rc;
}
