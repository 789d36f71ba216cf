#include "fs/mount/tmpfile.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "fs/base/log.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/permit.h"

OP_METRIC(tmpfile)

struct request {
    struct fuse_in_header header;
    struct fuse_create_in create;
};

struct answer {
    struct fuse_entry_out entry;
    struct fuse_open_out open;
};

static bool is_tmpfile(const struct fuse_buf *buf)
{
    struct fuse_in_header header;
    if ((buf->flags & FUSE_BUF_IS_FD) || buf->size < sizeof(header))
        return false;
    memcpy(&header, buf->mem, sizeof(header));
    return header.opcode == FUSE_TMPFILE;
}

/* ENOENT: the caller was interrupted and nobody waits for the answer any more. */
static int send(const struct mount *m, uint64_t unique, int posix, const struct answer *answer)
{
    struct fuse_out_header header = {.len = sizeof(header), .error = -posix, .unique = unique};
    struct answer copy = {0};
    struct iovec parts[] = {{&header, sizeof(header)}, {&copy, sizeof(copy)}};
    if (answer) {
        copy = *answer;
        header.len += sizeof(copy);
    }
    if (writev(fuse_session_fd(m->session), parts, answer ? 2 : 1) != -1)
        return 0;
    if (errno != ENOENT)
        log_warn("could not answer a request for a file without a name: %s", err_posix_name(errno));
    return errno;
}

static void set_time(struct timespec t, uint64_t *seconds, uint32_t *nanoseconds)
{
    *seconds = (uint64_t)t.tv_sec;
    *nanoseconds = (uint32_t)t.tv_nsec;
}

static struct fuse_attr attr_of(const struct stat *st)
{
    struct fuse_attr attr = {
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .blocks = (uint64_t)st->st_blocks,
        .mode = st->st_mode,
        .nlink = (uint32_t)st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .blksize = (uint32_t)st->st_blksize,
    };
    set_time(st->st_atim, &attr.atime, &attr.atimensec);
    set_time(st->st_mtim, &attr.mtime, &attr.mtimensec);
    set_time(st->st_ctim, &attr.ctime, &attr.ctimensec);
    return attr;
}

static struct answer answer_of(const struct mount *m, const struct node_attr *attr,
                               struct vfs_file *file)
{
    struct stat st;
    mount_stat(m, attr, &st);
    const uint64_t seconds = (uint64_t)m->attr_seconds;
    return (struct answer){
        .entry = {.nodeid = attr->ino,
                  .attr_valid = seconds,
                  .attr_valid_nsec = (uint32_t)((m->attr_seconds - (double)seconds) * 1e9),
                  .attr = attr_of(&st)},
        .open = {.fh = (uintptr_t)file},
    };
}

static enum rc make(struct mount *m, const struct request *r, struct node_attr *attr,
                    struct vfs_file **file, struct err *e)
{
    const struct vfs_caller who = ids_caller(m->ids, r->header.uid, r->header.gid, r->header.pid);
    const struct meta_create what = {
        .parent = r->header.nodeid,
        .type = NODE_FILE,
        .mode = r->create.mode & 07777,
        .umask = m->umask >= 0 ? (uint32_t)m->umask : r->create.umask,
        .uid = who.uid,
        .gid = who.gid,
    };
    if (permit_add(m->vfs, &who, what.parent, e))
        return e->code;
    return vfs_tmpfile(m->vfs, &what, (int)r->create.flags, attr, file, e);
}

bool tmpfile_serve(struct mount *m, const struct fuse_buf *buf)
{
    struct request r;
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs_file *file = NULL;

    if (!is_tmpfile(buf))
        return false;
    OP_TIMER(tmpfile);
    memset(&r, 0, sizeof(r));
    memcpy(&r, buf->mem, buf->size < sizeof(r) ? buf->size : sizeof(r));
    if (buf->size < sizeof(r)) {
        (void)!send(m, r.header.unique, EINVAL, NULL);
    } else if (make(m, &r, &attr, &file, &e)) {
        (void)!send(m, r.header.unique, reply_errno(&e, "tmpfile", r.header.nodeid), NULL);
    } else {
        const struct answer answer = answer_of(m, &attr, file);
        if (send(m, r.header.unique, 0, &answer))
            vfs_release(&file);
    }
    return true;
}
