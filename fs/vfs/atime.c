#include "fs/vfs/atime.h"

#include "fs/base/log.h"
#include "fs/vfs/inode.h"

#define DAY_SECONDS 86400

/* The rule of Linux; the database applies it again by its own clock. */
static bool is_due(const struct vfs *vfs, const struct node_attr *attr)
{
    struct timespec now;
    if (timespec_order(attr->atime, attr->mtime) <= 0 ||
        timespec_order(attr->atime, attr->ctime) <= 0)
        return true;
    clock_gettime(CLOCK_REALTIME, &now);
    const time_t age = now.tv_sec - attr->atime.tv_sec;
    return vfs->atime == ATIME_STRICT ? age >= 1 : age >= DAY_SECONDS;
}

void atime_read(struct vfs *vfs, const struct node_attr *attr)
{
    struct err e = ERR_INIT;
    struct node_attr now;
    if (vfs->atime == ATIME_NEVER || vfs->is_read_only || !is_due(vfs, attr))
        return;
    if (meta_touch_atime(vfs->meta, attr->ino, vfs->atime == ATIME_STRICT, &now, &e))
        log_debug("could not set the access time of inode %llu: %s", (unsigned long long)attr->ino,
                  e.text);
    else
        inode_overlay(vfs, &now);
}

void atime_read_ino(struct vfs *vfs, ino_num ino)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    if (vfs->atime != ATIME_NEVER && !vfs->is_read_only &&
        meta_getattr(vfs->meta, ino, &attr, &e) == RC_OK)
        atime_read(vfs, &attr);
}
