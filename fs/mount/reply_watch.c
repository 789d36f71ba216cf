#include "fs/mount/reply_watch.h"

#include "fs/mount/mount.h"

struct replied {
    int posix_errno;
    size_t bytes;
};

/* A request is served by one thread from its beginning to its reply. */
static _Thread_local struct replied replied;

void reply_watch_begin(void)
{
    replied = (struct replied){0, 0};
}

int reply_watch_errno(void)
{
    return replied.posix_errno;
}

size_t reply_watch_bytes(void)
{
    return replied.bytes;
}

/* The names are the linker's. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
int __real_fuse_reply_err(fuse_req_t req, int posix_errno);
int __real_fuse_reply_buf(fuse_req_t req, const char *data, size_t size);
int __wrap_fuse_reply_err(fuse_req_t req, int posix_errno);
int __wrap_fuse_reply_buf(fuse_req_t req, const char *data, size_t size);

int __wrap_fuse_reply_err(fuse_req_t req, int posix_errno)
{
    replied.posix_errno = posix_errno;
    return __real_fuse_reply_err(req, posix_errno);
}

int __wrap_fuse_reply_buf(fuse_req_t req, const char *data, size_t size)
{
    replied.bytes += size;
    return __real_fuse_reply_buf(req, data, size);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
