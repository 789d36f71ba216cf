/*
 * lock - flock(2) and fcntl(2) locks on the files of a mount, held against all mounts.
 *
 * A lock is a point where two mounts meet: what was written under it is committed before it is let
 * go, and whoever gets it looks at the file as the last holder left it, the kernel's pages
 * included.
 *
 * A request for a lock ends by a call of its `done`, at once or, when it may wait, once the lock is
 * free. Waiting takes no thread: one worker asks for all that wait, with pauses that grow from 1 to
 * 50 ms since a holder elsewhere announces nothing, and without a pause when a lock is let go here.
 *
 * When the session ends, so do its locks. Their owners must not go on as if they held them: every
 * later operation of theirs is refused with EIO until they close the file.
 *
 * Threads   any; `done` runs in the thread of vfs_lock_start() or in a worker, with no lock held
 * Blocking  every verb but vfs_lock_cancel() waits for PostgreSQL, and the store where there is
 *           something to commit; none waits for a lock
 */
#ifndef FS_VFS_LOCK_H
#define FS_VFS_LOCK_H

#include "fs/meta/lock.h"
#include "fs/vfs/vfs.h"

/* What is in the way of *lock, as meta_getlk(); lock->ino is filled in. */
MUST_CHECK enum rc vfs_getlk(struct vfs_file *file, struct meta_lock *lock, struct err *e);

struct vfs_lock_request;
typedef void (*vfs_lock_done)(void *arg, const struct err *outcome);

/*
 * Prepare a request to lock or unlock; what->ino is filled in. *out belongs to the vfs once
 * vfs_lock_start() is called, and is released after `done`. The file stays open until then.
 */
MUST_CHECK enum rc vfs_lock_prepare(struct vfs_file *file, const struct meta_lock *what,
                                    bool may_wait, vfs_lock_done done, void *arg,
                                    struct vfs_lock_request **out, struct err *e);

/*
 * Ask for the lock. `done` is called exactly once, with RC_OK, EAGAIN when the lock is held by
 * somebody else and the request may not wait, RC_CANCELLED, ENOTCONN when the vfs is closed, or
 * what else went wrong.
 */
void vfs_lock_start(struct vfs_lock_request *request);

/* End the wait of a request, which may not have been started yet. Not after `done` has returned. */
void vfs_lock_cancel(struct vfs_lock_request *request);

/* A process closes the file: its fcntl locks go. No exchange where it has none. */
void vfs_unlock_owner(struct vfs_file *file, uint64_t owner);

#endif
