/*
 * Requests for locks on files. The kernel keeps none of them by itself: what it is told here is all
 * there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "fs/mount/mount.h"
#include "fs/mount/op_timer.h"
#include "fs/mount/reply.h"
#include "fs/vfs/lock.h"

OP_METRIC(getlk)
OP_METRIC(setlk)
OP_METRIC(flock)

static struct vfs_file *file_of(const struct fuse_file_info *fi)
{
    return (struct vfs_file *)(uintptr_t)fi->fh;
}

/* ---- the kernel's form of a lock ---- */

static bool type_of(int kernel_type, enum meta_lock_type *out)
{
    switch (kernel_type) {
    case F_RDLCK:
        *out = META_LOCK_READ;
        return true;
    case F_WRLCK:
        *out = META_LOCK_WRITE;
        return true;
    case F_UNLCK:
        *out = META_LOCK_NONE;
        return true;
    default:
        return false;
    }
}

static short kernel_type_of(enum meta_lock_type type)
{
    return type == META_LOCK_READ ? F_RDLCK : type == META_LOCK_WRITE ? F_WRLCK : F_UNLCK;
}

/* A length of 0 is "to the end, however long the file becomes". False: not a range. */
static bool range_of(const struct flock *from, struct meta_lock *out)
{
    if (from->l_start < 0 || from->l_len < 0)
        return false;
    out->start = (uint64_t)from->l_start;
    out->end = from->l_len ? out->start + (uint64_t)from->l_len - 1 : META_LOCK_EOF;
    return out->end <= META_LOCK_EOF;
}

static bool plock_of(const struct fuse_file_info *fi, const struct flock *from,
                     struct meta_lock *out)
{
    *out = (struct meta_lock){
        .kind = META_PLOCK, .owner = fi->lock_owner, .pid = (uint32_t)from->l_pid};
    return type_of(from->l_type, &out->type) && range_of(from, out);
}

static struct flock kernel_lock_of(const struct meta_lock *lock)
{
    const bool is_open_ended = lock->end == META_LOCK_EOF;
    if (lock->type == META_LOCK_NONE)
        return (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
    return (struct flock){
        .l_type = kernel_type_of(lock->type),
        .l_whence = SEEK_SET,
        .l_start = (off_t)lock->start,
        .l_len = is_open_ended ? 0 : (off_t)(lock->end - lock->start + 1),
        .l_pid = (pid_t)lock->pid,
    };
}

/* ---- requests that may wait ---- */

/* A request for a lock on its way through the vfs. */
struct asking {
    fuse_req_t req;
    fuse_ino_t ino;
    const char *what;
};

/* Once the interrupt handler is gone it is not running either: libfuse holds a lock around both. */
static void on_done(void *arg, const struct err *outcome)
{
    struct asking *a = arg;
    fuse_req_interrupt_func(a->req, NULL, NULL);
    mount_reply_err(a->req, outcome, a->what, a->ino);
    free(a);
}

static void on_interrupt(UNUSED fuse_req_t req, void *arg)
{
    vfs_lock_cancel(arg);
}

static void ask(fuse_req_t req, fuse_ino_t ino, const char *what, const struct fuse_file_info *fi,
                const struct meta_lock *lock, bool may_wait)
{
    struct err e = ERR_INIT;
    struct vfs_lock_request *request;
    struct asking *a = malloc(sizeof(*a));
    if (!a || vfs_lock_prepare(file_of(fi), lock, may_wait, on_done, a, &request, &e)) {
        free(a);
        fuse_reply_err(req, ENOLCK);
        return;
    }
    *a = (struct asking){.req = req, .ino = ino, .what = what};
    if (may_wait)
        fuse_req_interrupt_func(req, on_interrupt, request);
    vfs_lock_start(request);
}

static void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                     struct flock *wanted)
{
    OP_TIMER(getlk);
    struct err e = ERR_INIT;
    struct meta_lock lock;
    if (!plock_of(fi, wanted, &lock)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (vfs_getlk(file_of(fi), &lock, &e)) {
        mount_reply_err(req, &e, "getlk", ino);
        return;
    }
    const struct flock found = kernel_lock_of(&lock);
    fuse_reply_lock(req, &found);
}

static void on_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                     struct flock *wanted, int may_wait)
{
    OP_TIMER(setlk);
    struct meta_lock lock;
    if (plock_of(fi, wanted, &lock))
        ask(req, ino, "setlk", fi, &lock, may_wait);
    else
        fuse_reply_err(req, EINVAL);
}

static void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
    OP_TIMER(flock);
    struct meta_lock lock = {.kind = META_FLOCK, .owner = fi->lock_owner};
    switch (op & ~LOCK_NB) {
    case LOCK_SH:
        lock.type = META_LOCK_READ;
        break;
    case LOCK_EX:
        lock.type = META_LOCK_WRITE;
        break;
    case LOCK_UN:
        lock.type = META_LOCK_NONE;
        break;
    default:
        fuse_reply_err(req, EINVAL);
        return;
    }
    ask(req, ino, "flock", fi, &lock, !(op & LOCK_NB));
}

void ops_lock_fill(struct fuse_lowlevel_ops *ops)
{
    ops->getlk = on_getlk;
    ops->setlk = on_setlk;
    ops->flock = on_flock;
}
