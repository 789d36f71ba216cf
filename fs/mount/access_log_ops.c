/*
 * The handlers of the access log: each passes a request on, and tells the readers of the log, if
 * there are any, what it was and how it ended.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/mount/access_log.h"
#include "fs/mount/internal.h"
#include "fs/mount/reply_watch.h"

#define CALL_BYTES_MAX 4096

/* A request on its way; the request itself is gone once it is answered. */
struct log_call {
    struct access_log *log; /* NULL: nobody reads */
    struct fuse_ctx ctx;
    uint64_t began_us;
};

static struct log_call begin(fuse_req_t req)
{
    struct access_log *log = internal_log(mount_of(req)->internal);
    if (!access_log_is_read(log))
        return (struct log_call){.log = NULL};
    reply_watch_begin();
    return (struct log_call){log, *fuse_req_ctx(req), clock_us()};
}

struct log_name {
    char text[META_NAME_MAX * 4 + 1];
};

static struct log_name shown(const char *name)
{
    struct log_name out = {{0}};
    struct err cut = ERR_INIT;
    auto_buf struct buf text;
    buf_init(&text, sizeof(out.text) - 1);
    /* Only a link's target can be longer; what fits of it is shown. */
    (void)!access_log_name(&text, mount_name(name), &cut);
    memcpy(out.text, text.data ? text.data : (const uint8_t *)"", text.size);
    return out;
}

static void end(const struct log_call *c, const char *fmt, ...) PRINTF(2, 3);

static void end(const struct log_call *c, const char *fmt, ...)
{
    char call[CALL_BYTES_MAX];
    struct err e = ERR_INIT;
    va_list args;
    va_start(args, fmt);
    vsnprintf(call, sizeof(call), fmt, args);
    va_end(args);
    const struct access_line line = {
        .uid = c->ctx.uid,
        .gid = c->ctx.gid,
        .pid = (uint32_t)c->ctx.pid,
        .took_us = clock_us() - c->began_us,
        .posix_errno = reply_watch_errno(),
        .call = call,
    };
    auto_buf struct buf text;
    buf_init(&text, CALL_BYTES_MAX + 256);
    if (access_log_format(&text, &line, &e) == RC_OK)
        access_log_add(c->log, buf_bytes(&text));
}

static const struct fuse_lowlevel_ops *inner(fuse_req_t req)
{
    return internal_logged(mount_of(req)->internal);
}

static void log_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->lookup(req, parent, name);
    if (c.log)
        end(&c, "lookup (%llu,%s)", (unsigned long long)parent, shown(name).text);
}

static void log_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->getattr(req, ino, fi);
    if (c.log)
        end(&c, "getattr (%llu)", (unsigned long long)ino);
}

static void log_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                        struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->setattr(req, ino, st, to_set, fi);
    if (c.log)
        end(&c, "setattr (%llu,0x%X)", (unsigned long long)ino, (unsigned)to_set);
}

static void log_readlink(fuse_req_t req, fuse_ino_t ino)
{
    const struct log_call c = begin(req);
    inner(req)->readlink(req, ino);
    if (c.log)
        end(&c, "readlink (%llu)", (unsigned long long)ino);
}

static void log_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    const struct log_call c = begin(req);
    inner(req)->mknod(req, parent, name, mode, rdev);
    if (c.log)
        end(&c, "mknod (%llu,%s,0%04o,0x%08X)", (unsigned long long)parent, shown(name).text, mode,
            (unsigned)rdev);
}

static void log_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    const struct log_call c = begin(req);
    inner(req)->mkdir(req, parent, name, mode);
    if (c.log)
        end(&c, "mkdir (%llu,%s,0%04o)", (unsigned long long)parent, shown(name).text, mode);
}

static void log_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->unlink(req, parent, name);
    if (c.log)
        end(&c, "unlink (%llu,%s)", (unsigned long long)parent, shown(name).text);
}

static void log_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->rmdir(req, parent, name);
    if (c.log)
        end(&c, "rmdir (%llu,%s)", (unsigned long long)parent, shown(name).text);
}

static void log_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->symlink(req, target, parent, name);
    if (c.log)
        end(&c, "symlink (%llu,%s,%s)", (unsigned long long)parent, shown(name).text,
            shown(target).text);
}

static void log_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                       const char *new_name, unsigned flags)
{
    const struct log_call c = begin(req);
    inner(req)->rename(req, parent, name, new_parent, new_name, flags);
    if (c.log)
        end(&c, "rename (%llu,%s,%llu,%s,%u)", (unsigned long long)parent, shown(name).text,
            (unsigned long long)new_parent, shown(new_name).text, flags);
}

static void log_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->link(req, ino, parent, name);
    if (c.log)
        end(&c, "link (%llu,%llu,%s)", (unsigned long long)ino, (unsigned long long)parent,
            shown(name).text);
}

static void log_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                       struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->create(req, parent, name, mode, fi);
    if (c.log)
        end(&c, "create (%llu,%s,0%04o)", (unsigned long long)parent, shown(name).text, mode);
}

static void log_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->open(req, ino, fi);
    if (c.log)
        end(&c, "open (%llu)", (unsigned long long)ino);
}

static void log_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    /* A line for each reading of the log would keep its reader busy for ever. */
    const struct log_call none = {.log = NULL};
    const struct log_call c = internal_has(ino) ? none : begin(req);
    inner(req)->read(req, ino, size, off, fi);
    if (c.log)
        end(&c, "read (%llu,%zu,%lld,0): (%zu)", (unsigned long long)ino, size, (long long)off,
            reply_watch_bytes());
}

static void log_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                      struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->write(req, ino, data, size, off, fi);
    if (c.log)
        end(&c, "write (%llu,%zu,%lld,0)", (unsigned long long)ino, size, (long long)off);
}

static void log_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->flush(req, ino, fi);
    if (c.log)
        end(&c, "flush (%llu,0)", (unsigned long long)ino);
}

static void log_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->fsync(req, ino, datasync, fi);
    if (c.log)
        end(&c, "fsync (%llu,%d)", (unsigned long long)ino, datasync);
}

static void log_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->release(req, ino, fi);
    if (c.log)
        end(&c, "release (%llu,0)", (unsigned long long)ino);
}

static void log_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->opendir(req, ino, fi);
    if (c.log)
        end(&c, "opendir (%llu)", (unsigned long long)ino);
}

static void log_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                        struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->readdir(req, ino, size, off, fi);
    if (c.log)
        end(&c, "readdir (%llu,%zu,%lld,false): (%zu)", (unsigned long long)ino, size,
            (long long)off, reply_watch_bytes());
}

static void log_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                            struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->readdirplus(req, ino, size, off, fi);
    if (c.log)
        end(&c, "readdir (%llu,%zu,%lld,true): (%zu)", (unsigned long long)ino, size,
            (long long)off, reply_watch_bytes());
}

static void log_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->releasedir(req, ino, fi);
    if (c.log)
        end(&c, "releasedir (%llu,0)", (unsigned long long)ino);
}

static void log_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct log_call c = begin(req);
    inner(req)->statfs(req, ino);
    if (c.log)
        end(&c, "statfs (%llu)", (unsigned long long)ino);
}

static void log_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    const struct log_call c = begin(req);
    inner(req)->access(req, ino, mask);
    if (c.log)
        end(&c, "access (%llu,0x%X)", (unsigned long long)ino, (unsigned)mask);
}

static void log_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    const struct log_call c = begin(req);
    inner(req)->getxattr(req, ino, name, size);
    if (c.log)
        end(&c, "getxattr (%llu,%s,%zu)", (unsigned long long)ino, shown(name).text, size);
}

static void log_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                         size_t size, int flags)
{
    const struct log_call c = begin(req);
    inner(req)->setxattr(req, ino, name, value, size, flags);
    if (c.log)
        end(&c, "setxattr (%llu,%s,%zu,%d)", (unsigned long long)ino, shown(name).text, size,
            flags);
}

static void log_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    const struct log_call c = begin(req);
    inner(req)->listxattr(req, ino, size);
    if (c.log)
        end(&c, "listxattr (%llu,%zu)", (unsigned long long)ino, size);
}

static void log_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    const struct log_call c = begin(req);
    inner(req)->removexattr(req, ino, name);
    if (c.log)
        end(&c, "removexattr (%llu,%s)", (unsigned long long)ino, shown(name).text);
}

static void log_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                          struct fuse_file_info *fi)
{
    const struct log_call c = begin(req);
    inner(req)->fallocate(req, ino, mode, off, len, fi);
    if (c.log)
        end(&c, "fallocate (%llu,%d,%lld,%lld)", (unsigned long long)ino, mode, (long long)off,
            (long long)len);
}

static void log_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
                                struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
                                struct fuse_file_info *fi_out, size_t size, int flags)
{
    const struct log_call c = begin(req);
    inner(req)->copy_file_range(req, in, off_in, fi_in, out, off_out, fi_out, size, flags);
    if (c.log)
        end(&c, "copy_file_range (%llu,%lld,%llu,%lld,%zu)", (unsigned long long)in,
            (long long)off_in, (unsigned long long)out, (long long)off_out, size);
}

/* A handler that there is none of stays none: the kernel learns from that. */
void access_log_fill(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = ops->lookup ? log_lookup : NULL;
    ops->getattr = ops->getattr ? log_getattr : NULL;
    ops->setattr = ops->setattr ? log_setattr : NULL;
    ops->readlink = ops->readlink ? log_readlink : NULL;
    ops->mknod = ops->mknod ? log_mknod : NULL;
    ops->mkdir = ops->mkdir ? log_mkdir : NULL;
    ops->unlink = ops->unlink ? log_unlink : NULL;
    ops->rmdir = ops->rmdir ? log_rmdir : NULL;
    ops->symlink = ops->symlink ? log_symlink : NULL;
    ops->rename = ops->rename ? log_rename : NULL;
    ops->link = ops->link ? log_link : NULL;
    ops->create = ops->create ? log_create : NULL;
    ops->open = ops->open ? log_open : NULL;
    ops->read = ops->read ? log_read : NULL;
    ops->write = ops->write ? log_write : NULL;
    ops->flush = ops->flush ? log_flush : NULL;
    ops->fsync = ops->fsync ? log_fsync : NULL;
    ops->release = ops->release ? log_release : NULL;
    ops->opendir = ops->opendir ? log_opendir : NULL;
    ops->readdir = ops->readdir ? log_readdir : NULL;
    ops->readdirplus = ops->readdirplus ? log_readdirplus : NULL;
    ops->releasedir = ops->releasedir ? log_releasedir : NULL;
    ops->statfs = ops->statfs ? log_statfs : NULL;
    ops->access = ops->access ? log_access : NULL;
    ops->getxattr = ops->getxattr ? log_getxattr : NULL;
    ops->setxattr = ops->setxattr ? log_setxattr : NULL;
    ops->listxattr = ops->listxattr ? log_listxattr : NULL;
    ops->removexattr = ops->removexattr ? log_removexattr : NULL;
    ops->fallocate = ops->fallocate ? log_fallocate : NULL;
    ops->copy_file_range = ops->copy_file_range ? log_copy_file_range : NULL;
}
