#include "fs/vfs/permit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* What the kernel adds to the flags of a file that is opened to be run. */
#define OPEN_TO_RUN 0x20

/* ---- the rules ---- */

static bool grants(unsigned bits, unsigned mask)
{
    return (mask & ~bits) == 0;
}

/* Of the groups that match any one suffices; when none does, "other" is not asked. */
static bool permit_by_groups(const struct node_attr *attr, const struct acl_rule *rule,
                             const struct vfs_caller *who, unsigned mask, bool *is_member)
{
    bool is_granted = false;
    *is_member = who->gid == attr->gid;
    if (*is_member)
        is_granted = grants(rule->group, mask);
    for (uint32_t i = 0; i < rule->group_count; i++) {
        const struct acl_entry *entry = &rule->entries[rule->user_count + i];
        if (entry->id != who->gid)
            continue;
        *is_member = true;
        is_granted |= grants(entry->bits, mask);
    }
    return is_granted;
}

static bool permit_by_rule(const struct node_attr *attr, const struct acl_rule *rule,
                           const struct vfs_caller *who, unsigned mask)
{
    const unsigned most = rule->mask == ACL_UNSET ? 7 : rule->mask;
    bool is_member;
    for (uint32_t i = 0; i < rule->user_count; i++)
        if (rule->entries[i].id == who->uid)
            return grants(rule->entries[i].bits & most, mask);
    const bool by_groups = permit_by_groups(attr, rule, who, mask, &is_member);
    return is_member ? by_groups && grants(most, mask) : grants(rule->other, mask);
}

bool permit_by(const struct node_attr *attr, const struct acl_rule *rule,
               const struct vfs_caller *who, unsigned mask)
{
    if (who->uid == 0)
        return attr->type == NODE_DIRECTORY || (attr->mode & 0111) || !(mask & PERMIT_EXEC);
    if (who->uid == attr->uid)
        return grants(attr->mode >> 6 & 7, mask);
    if (rule)
        return permit_by_rule(attr, rule, who, mask);
    return grants(who->gid == attr->gid ? attr->mode >> 3 & 7 : attr->mode & 7, mask);
}

/* ---- asking ---- */

static enum rc denied(struct err *e)
{
    return err_refused(e, EACCES, "the caller's permissions do not reach");
}

static enum rc not_owner(struct err *e)
{
    return err_refused(e, EPERM, "the caller is not the owner");
}

static enum rc check_attr(struct vfs *vfs, const struct vfs_caller *who,
                          const struct node_attr *attr, unsigned mask, struct err *e)
{
    auto_free struct acl_rule *rule = NULL;
    if (attr->access_acl && vfs_acl_rule(vfs, attr->access_acl, &rule, e))
        return e->code;
    return permit_by(attr, rule, who, mask) ? RC_OK : denied(e);
}

enum rc permit_access(struct vfs *vfs, const struct vfs_caller *who, ino_num ino, unsigned mask,
                      struct err *e)
{
    struct node_attr attr;
    if (!who->is_squashed || mask == 0)
        return RC_OK;
    enum rc rc = vfs_getattr(vfs, ino, &attr, e);
    return rc ? rc : check_attr(vfs, who, &attr, mask, e);
}

enum rc permit_open(struct vfs *vfs, const struct vfs_caller *who, ino_num ino, int flags,
                    struct err *e)
{
    unsigned mask = flags & O_TRUNC ? PERMIT_WRITE : 0;
    if ((flags & O_ACCMODE) != O_RDONLY)
        mask |= PERMIT_WRITE;
    if (flags & OPEN_TO_RUN)
        mask |= PERMIT_EXEC;
    else if ((flags & O_ACCMODE) != O_WRONLY)
        mask |= PERMIT_READ;
    return permit_access(vfs, who, ino, mask, e);
}

enum rc permit_add(struct vfs *vfs, const struct vfs_caller *who, ino_num parent, struct err *e)
{
    return permit_access(vfs, who, parent, PERMIT_WRITE | PERMIT_EXEC, e);
}

enum rc permit_remove(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                      struct bytes name, struct err *e)
{
    struct node_attr dir, victim;
    if (!who->is_squashed)
        return RC_OK;
    enum rc rc = vfs_getattr(vfs, parent, &dir, e);
    if (!rc)
        rc = check_attr(vfs, who, &dir, PERMIT_WRITE | PERMIT_EXEC, e);
    if (rc || !(dir.mode & S_ISVTX) || who->uid == dir.uid || who->uid == 0)
        return rc;
    rc = vfs_lookup(vfs, parent, name, &victim, e);
    /* What is not there has nobody to be protected: the operation itself says so. */
    if (rc == RC_REFUSED && e->posix == ENOENT)
        return RC_OK;
    return rc ? rc : victim.uid == who->uid ? RC_OK : not_owner(e);
}

enum rc permit_owner(struct vfs *vfs, const struct vfs_caller *who, ino_num ino, struct err *e)
{
    struct node_attr attr;
    if (!who->is_squashed)
        return RC_OK;
    enum rc rc = vfs_getattr(vfs, ino, &attr, e);
    return rc ? rc : who->uid == 0 || who->uid == attr.uid ? RC_OK : not_owner(e);
}

/* The owner alone changes mode, group (to one of his) and times; nobody gives files away. */
static bool is_owners_change(const struct node_attr *attr, const struct vfs_caller *who,
                             const struct meta_setattr *what)
{
    if (who->uid != attr->uid)
        return !(what->mask & (SETATTR_MODE | SETATTR_UID | SETATTR_GID | SETATTR_ATIME |
                               SETATTR_MTIME | SETATTR_FLAGS));
    return (!(what->mask & SETATTR_UID) || what->uid == attr->uid) &&
           (!(what->mask & SETATTR_GID) || what->gid == attr->gid || what->gid == who->gid);
}

enum rc permit_setattr(struct vfs *vfs, const struct vfs_caller *who, struct meta_setattr *what,
                       bool by_handle, struct err *e)
{
    struct node_attr attr;
    if (!who->is_squashed || who->uid == 0)
        return RC_OK;
    enum rc rc = vfs_getattr(vfs, what->ino, &attr, e);
    if (rc)
        return rc;
    if (!is_owners_change(&attr, who, what))
        return not_owner(e);
    if (who->gid != attr.gid)
        what->mode &= ~(uint32_t)S_ISGID;
    const bool sets_now = what->mask & (SETATTR_ATIME_NOW | SETATTR_MTIME_NOW);
    const bool is_cut = (what->mask & SETATTR_LENGTH) && !by_handle;
    if (is_cut || (sets_now && who->uid != attr.uid && !by_handle))
        return check_attr(vfs, who, &attr, PERMIT_WRITE, e);
    return RC_OK;
}
