/*
 * The one try of a lock, what goes with it, and the end of the locks of who closes a file. Who
 * holds what is in lock_table.c, waiting in lock_wait.c.
 */
#include "fs/vfs/lock.h"

#include <errno.h>

#include "fs/base/log.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/writer.h"

/* ---- one exchange ---- */

static bool is_whole(const struct meta_lock *what)
{
    return what->type == META_LOCK_NONE &&
           (what->kind == META_FLOCK || (what->start == 0 && what->end == META_LOCK_EOF));
}

/* An operation of an owner that is on its way. */
struct attempt {
    struct lock_table *table;
    struct lock_file *file;
    struct lock_owner *owner;
    uint64_t fence, grants; /* as they were at its begin */
    bool was_held;
};

static enum rc lost(ino_num ino, struct err *e)
{
    return err_refused(e, EIO, "locks of inode %llu were lost with the session of this mount",
                       (unsigned long long)ino);
}

/* Enter the operation. a->owner is NULL when there is nothing to unlock. */
static enum rc begin_try(struct vfs_file *handle, const struct meta_lock *what, struct attempt *a,
                         struct err *e)
{
    struct lock_table *table = handle->vfs->locks;
    *a = (struct attempt){.table = table};

    LOCK_SCOPE(&table->lock);
    if (what->type == META_LOCK_NONE &&
        !lock_owner_find(map64_get(table->files, what->ino), what->kind, what->owner))
        return RC_OK;
    a->file = lock_file_get_locked(table, what->ino, e);
    if (!a->file)
        return e->code;
    struct lock_owner *o = lock_owner_get_locked(table, a->file, what);
    if (!o) {
        lock_file_drop_locked(table, a->file);
        return err_fail(e, RC_NO_SPACE, "could not allocate a lock");
    }
    if (o->is_lost)
        return lost(what->ino, e);
    if (o->is_leaving && lock_leave_locked(table, a->file, o, e))
        return e->code;
    o->busy++;
    if (what->type != META_LOCK_NONE)
        o->handle = handle;
    a->owner = o;
    a->fence = table->fence;
    a->grants = o->grants;
    a->was_held = o->is_held;
    return RC_OK;
}

/*
 * What the outcome says about the owner. An unknown one may have left a lock; who had none before
 * is told that he has none now, so it goes as soon as possible. Else it stays with the others he
 * has.
 */
static void note_outcome_locked(struct attempt *a, const struct meta_lock *what, enum rc rc)
{
    struct lock_owner *o = a->owner;
    const bool is_sole = o->busy == 0 && o->grants == a->grants;
    const bool is_unknown = rc && rc != RC_REFUSED && rc != RC_STALE;

    if (rc == RC_OK && what->type != META_LOCK_NONE)
        o->grants++;
    if (rc == RC_OK && is_whole(what) && is_sole)
        lock_owner_set_held(o, false);
    else if (rc == RC_OK ? what->type != META_LOCK_NONE : is_unknown)
        lock_owner_set_held(o, true);
    if (is_unknown && is_sole && !a->was_held)
        o->is_leaving = true;
    /* An unlock, or a read lock where there was a write lock. */
    if (rc == RC_OK && what->type != META_LOCK_WRITE)
        lock_wake_locked(a->table, a->file);
}

static enum rc end_try(struct attempt *a, const struct meta_lock *what, enum rc rc, struct err *e)
{
    struct lock_table *table = a->table;
    bool is_fenced;
    {
        LOCK_SCOPE(&table->lock);
        a->owner->busy--;
        is_fenced = table->fence != a->fence;
        if (!is_fenced)
            note_outcome_locked(a, what, rc);
        else if (rc == RC_OK && what->type != META_LOCK_NONE)
            a->owner->is_lost = true;
        lock_owner_drop_locked(table, a->file, a->owner);
    }
    if (!is_fenced)
        return rc;
    /* It may have come into the next session: nobody counts on it there. */
    const struct meta_lock all = lock_everything_of(what->ino, what->kind, what->owner);
    struct node_attr ignored;
    struct err unsaid = ERR_INIT;
    if (rc == RC_OK && what->type != META_LOCK_NONE &&
        meta_setlk(table->vfs->meta, &all, &ignored, &unsaid))
        log_err(LOG_LEVEL_WARN, &unsaid, "a lock may stay until this mount ends");
    return lost(what->ino, e);
}

/* ---- what was written under a lock, and what others wrote before ---- */

static bool may_let_go(struct lock_table *table, const struct meta_lock *what)
{
    if (what->type == META_LOCK_WRITE)
        return false;
    LOCK_SCOPE(&table->lock);
    const struct lock_owner *o =
        lock_owner_find(map64_get(table->files, what->ino), what->kind, what->owner);
    return o && o->is_held;
}

/*
 * A failure is not the lock's: it is told by the next fsync or close, and a lock that stays would
 * only stop everybody else.
 */
static void commit_pending(struct inode *in)
{
    struct err e = ERR_INIT;
    if (writer_flush_range(in, 0, META_LENGTH_MAX, &e))
        log_err(LOG_LEVEL_WARN, &e, "a lock is let go before what was written under it is stored");
}

static bool learn(struct inode *in, const struct node_attr *attr)
{
    LOCK_SCOPE(&in->lock);
    const uint64_t epoch = in->epoch;
    inode_learn_locked(in, attr);
    return in->epoch != epoch;
}

enum rc lock_try(struct vfs_file *handle, const struct meta_lock *what, bool *is_stale,
                 struct err *e)
{
    struct node_attr attr = {.ino = 0};
    struct attempt a;

    *is_stale = false;
    if (may_let_go(handle->vfs->locks, what))
        commit_pending(handle->inode);
    enum rc rc = begin_try(handle, what, &a, e);
    if (rc || !a.owner)
        return rc;
    rc = end_try(&a, what, meta_setlk(handle->vfs->meta, what, &attr, e), e);
    if (!rc && what->type != META_LOCK_NONE)
        *is_stale = learn(handle->inode, &attr);
    return rc;
}

bool lock_is_busy(const struct err *e)
{
    return e->code == RC_REFUSED && e->posix == EAGAIN;
}

/* ---- asking ---- */

enum rc vfs_getlk(struct vfs_file *file, struct meta_lock *lock, struct err *e)
{
    struct lock_table *table = file->vfs->locks;

    lock->ino = file->inode->ino;
    {
        LOCK_SCOPE(&table->lock);
        const struct lock_owner *o =
            lock_owner_find(map64_get(table->files, lock->ino), lock->kind, lock->owner);
        if (o && o->is_lost)
            return lost(lock->ino, e);
    }
    return meta_getlk(file->vfs->meta, lock, e);
}

/* ---- closing ---- */

/* The owner of an entry closed the file. */
static void leave(struct vfs_file *handle, const struct meta_lock *all)
{
    struct lock_table *table = handle->vfs->locks;
    struct err e = ERR_INIT;
    bool is_stale;

    if (lock_try(handle, all, &is_stale, &e) == RC_OK)
        return;
    LOCK_SCOPE(&table->lock);
    struct lock_file *file = map64_get(table->files, all->ino);
    struct lock_owner *o = lock_owner_find(file, all->kind, all->owner);
    if (!o)
        return;
    if (e.code == RC_STALE || o->is_lost) { /* the rows went with the session */
        o->is_lost = false;
        lock_owner_set_held(o, false);
    } else if (!o->is_leaving) {
        log_err(LOG_LEVEL_WARN, &e, "a lock outlives its file; it is let go as soon as possible");
        o->is_leaving = true;
    }
    lock_owner_drop_locked(table, file, o);
}

void vfs_unlock_owner(struct vfs_file *file, uint64_t owner)
{
    struct lock_table *table = file->vfs->locks;
    if (atomic_load(&table->owner_count) == 0)
        return;
    const struct meta_lock all = lock_everything_of(file->inode->ino, META_PLOCK, owner);
    leave(file, &all);
}

/* An owner that took its locks through this handle, as what is to be unlocked. */
static bool find_of_handle(struct lock_table *table, const struct vfs_file *handle,
                           struct meta_lock *out)
{
    LOCK_SCOPE(&table->lock);
    const struct lock_file *file =
        table->is_closing ? NULL : map64_get(table->files, handle->inode->ino);
    struct lock_owner *o = file ? file->owners : NULL;
    while (o && o->handle != handle)
        o = o->next;
    if (!o)
        return false;
    o->handle = NULL; /* once: what cannot be unlocked now is left to the tick */
    *out = lock_everything_of(file->ino, o->kind, o->owner);
    return true;
}

/*
 * Locks of flock and of an open file description (F_OFD_SETLK) end with the last close, and the
 * kernel says nothing of the latter: so each entry knows the handle it was taken through. Locks of
 * a process are gone by then. While the volume is being closed they are left to the session's end.
 */
void lock_handle_closed(struct vfs_file *handle)
{
    struct lock_table *table = handle->vfs->locks;
    struct meta_lock all;
    if (atomic_load(&table->owner_count) == 0)
        return;
    while (find_of_handle(table, handle, &all))
        leave(handle, &all);
}
