#include "fs/vfs/copy.h"

#include <errno.h>

#include "fs/meta/copy.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/writer.h"

/* The destination takes no writes meanwhile, or they could be committed above or below the copy. */
static enum rc copy_paused(const struct meta_copy *what, struct vfs_file *from, struct vfs_file *to,
                           uint64_t *copied, struct err *e)
{
    struct node_attr attr = {.ino = 0};
    /* Also what is written behind the range: it says how long the source is. */
    enum rc rc =
        writer_flush_range(from->inode, what->from_off, META_LENGTH_MAX - what->from_off, e);
    if (!rc)
        rc = meta_copy_range(to->vfs->meta, what, copied, &attr, e);
    if (rc || *copied == 0)
        return rc;
    LOCK_SCOPE(&to->inode->lock);
    inode_changed_locked(to->inode, &attr);
    return RC_OK;
}

enum rc vfs_copy_range(struct vfs_file *from, uint64_t from_off, struct vfs_file *to,
                       uint64_t to_off, uint64_t len, const struct vfs_caller *who,
                       uint64_t *copied, struct err *e)
{
    const struct meta_copy what = {.from = from->inode->ino,
                                   .from_off = from_off,
                                   .to = to->inode->ino,
                                   .to_off = to_off,
                                   .len = len,
                                   .kill_suid = who->uid != 0};
    *copied = 0;
    if (from_off >= META_LENGTH_MAX)
        return RC_OK;
    if (vfs_check_writable(to->vfs, e))
        return e->code;
    if (!to->is_writable)
        return err_refused(e, EBADF, "the file is not open for writing");
    enum rc rc = writer_pause(to->inode, e);
    if (rc)
        return rc;
    rc = copy_paused(&what, from, to, copied, e);
    writer_resume(to->inode);
    return rc;
}
