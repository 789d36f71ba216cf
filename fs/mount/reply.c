#include "fs/mount/reply.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/base/log.h"

/* Where space is counted in pages of the accounting (volume format §10). */
#define ACCOUNTED_BYTES 4096

static int errno_of(const struct err *e)
{
    switch (e->code) {
    case RC_OK:
        return 0;
    case RC_REFUSED:
        return e->posix ? e->posix : EIO;
    case RC_NOT_FOUND:
        return ENOENT;
    case RC_EXISTS:
        return EEXIST;
    case RC_STALE:
        return ESTALE;
    case RC_INVALID:
        return EINVAL;
    case RC_DENIED:
        return EACCES;
    case RC_NO_SPACE:
        return ENOSPC;
    case RC_CANCELLED:
        return EINTR;
    case RC_TIMEOUT:
    case RC_UNAVAILABLE:
    case RC_CORRUPT:
    case RC_IO:
    case RC_UNCERTAIN:
        return EIO;
    }
    return EIO;
}

int reply_errno(const struct err *e, const char *what, ino_num ino)
{
    int posix = errno_of(e);
    if (posix && e->code != RC_REFUSED)
        log_err(LOG_LEVEL_WARN, e, "%s of inode %" PRIu64 " failed with %s", what, ino,
                err_posix_name(posix));
    return posix;
}

static const mode_t type_bits[] = {
    [NODE_FILE] = S_IFREG,    [NODE_DIRECTORY] = S_IFDIR, [NODE_SYMLINK] = S_IFLNK,
    [NODE_FIFO] = S_IFIFO,    [NODE_BLOCK] = S_IFBLK,     [NODE_CHAR] = S_IFCHR,
    [NODE_SOCKET] = S_IFSOCK,
};

mode_t reply_type_bits(enum node_type type)
{
    size_t i = (size_t)type;
    return i < sizeof(type_bits) / sizeof(type_bits[0]) ? type_bits[i] : 0;
}

enum node_type reply_node_type(mode_t mode)
{
    for (size_t i = NODE_FILE; i <= NODE_SOCKET; i++)
        if (type_bits[i] == (mode & S_IFMT))
            return (enum node_type)i;
    return (enum node_type)0;
}

void reply_stat(const struct node_attr *attr, struct stat *out)
{
    memset(out, 0, sizeof(*out));
    out->st_ino = attr->ino;
    out->st_mode = reply_type_bits(attr->type) | (attr->mode & 07777);
    out->st_nlink = attr->nlink;
    out->st_uid = attr->uid;
    out->st_gid = attr->gid;
    out->st_rdev = attr->rdev;
    out->st_size = (off_t)attr->length;
    out->st_blksize = 65536;
    out->st_blocks = (blkcnt_t)((attr->length + ACCOUNTED_BYTES - 1) / ACCOUNTED_BYTES *
                                (ACCOUNTED_BYTES / 512));
    out->st_atim = attr->atime;
    out->st_mtim = attr->mtime;
    out->st_ctim = attr->ctime;
}
