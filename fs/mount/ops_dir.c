/*
 * Requests about open directories. fi->fh is the vfs handle.
 */
#include <errno.h>
#include <string.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

OP_METRIC(opendir)
OP_METRIC(readdir)

static struct vfs_dir *dir_of(const struct fuse_file_info *fi)
{
    return (struct vfs_dir *)(uintptr_t)fi->fh;
}

static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    OP_TIMER(opendir);
    struct err e = ERR_INIT;
    struct vfs_dir *dir;
    struct vfs *vfs = mount_of(req)->vfs;
    const struct vfs_caller who = mount_caller(req);
    if (permit_access(vfs, &who, ino, PERMIT_READ, &e) || vfs_opendir(vfs, ino, &dir, &e)) {
        mount_reply_err(req, &e, "opendir", ino);
        return;
    }
    fi->fh = (uintptr_t)dir;
    if (fuse_reply_open(req, fi) == -ENOENT)
        vfs_releasedir(&dir);
}

static void on_releasedir(fuse_req_t req, UNUSED fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct vfs_dir *dir = dir_of(fi);
    vfs_releasedir(&dir);
    fuse_reply_err(req, 0);
}

static bool is_dot(const struct dir_entry *entry)
{
    return entry->name[0] == '.' &&
           (entry->name_size == 1 || (entry->name_size == 2 && entry->name[1] == '.'));
}

/* The kernel may believe an entry for as long as if it had come when it was asked for. */
static void make_older(struct fuse_entry_param *param, double seconds)
{
    param->attr_timeout -= seconds;
    param->entry_timeout -= seconds;
    if (param->entry_timeout < 0)
        param->entry_timeout = 0;
}

/* An entry, and what readdir says with it. */
struct listed {
    const struct dir_entry *entry;
    uint64_t age_ms, next_offset;
};

/* Append one entry; the bytes it takes, more than room when it does not fit. */
static size_t add_entry(fuse_req_t req, char *at, size_t room, const struct listed *listed,
                        bool plus)
{
    const struct dir_entry *entry = listed->entry;
    const off_t next_offset = (off_t)listed->next_offset;
    char name[META_NAME_MAX + 1];
    memcpy(name, entry->name, entry->name_size);
    name[entry->name_size] = '\0';
    if (!plus) {
        const struct stat st = {.st_ino = entry->attr.ino,
                                .st_mode = reply_type_bits(entry->attr.type)};
        return fuse_add_direntry(req, at, room, name, &st, next_offset);
    }
    struct fuse_entry_param param = mount_entry(mount_of(req), &entry->attr);
    make_older(&param, (double)listed->age_ms / 1000);
    /* "." and "..", what is too old, and what has lost its inode, take no reference in the kernel.
     */
    if (is_dot(entry) || !entry->has_attr || param.attr_timeout < 0)
        param.ino = 0;
    return fuse_add_direntry_plus(req, at, room, name, &param, next_offset);
}

static void list_entries(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                         struct fuse_file_info *fi, bool plus)
{
    OP_TIMER(readdir);
    struct err e = ERR_INIT;
    char *page = (char *)mount_read_buffer(mount_of(req));
    size_t used = 0;
    if (size > MOUNT_IO_BYTES)
        size = MOUNT_IO_BYTES;
    if (!page) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    struct listed at;
    for (uint64_t offset = (uint64_t)off;; offset = at.next_offset) {
        if (vfs_readdir(dir_of(fi), offset, plus, &at.entry, &at.age_ms, &at.next_offset, &e)) {
            /* What was gathered is given first; the error comes with the next call. */
            if (used == 0) {
                mount_reply_err(req, &e, "readdir", ino);
                return;
            }
            break;
        }
        if (!at.entry)
            break;
        size_t need = add_entry(req, page + used, size - used, &at, plus);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, page, used);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    list_entries(req, ino, size, off, fi, false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           struct fuse_file_info *fi)
{
    list_entries(req, ino, size, off, fi, true);
}

/* Names are durable when their operation returns. */
static void on_fsyncdir(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED int is_datasync,
                        UNUSED struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

void ops_dir_fill(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = on_opendir;
    ops->readdir = on_readdir;
    ops->readdirplus = on_readdirplus;
    ops->releasedir = on_releasedir;
    ops->fsyncdir = on_fsyncdir;
}
