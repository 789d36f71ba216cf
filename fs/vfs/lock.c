/*
 * Who holds locks here, and the one try of a lock. Waiting is in lock_wait.c.
 */
#include "fs/vfs/lock.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/writer.h"

METRIC_DEFINE(metric_held, METRIC_GAUGE, "tarn_lock_held", NULL,
              "owners that hold locks on a file, by flock or fcntl")

/* ---- the table ---- */

enum { FIRST_PAUSE_MS = 1 };

struct lock_file *lock_file_get_locked(struct lock_table *table, ino_num ino, struct err *e)
{
    struct lock_file *file = map64_get(table->files, ino);
    if (file)
        return file;
    file = calloc(1, sizeof(*file));
    if (!file) {
        err_fail(e, RC_NO_SPACE, "could not allocate a lock");
        return NULL;
    }
    *file = (struct lock_file){.ino = ino, .pause_ms = FIRST_PAUSE_MS};
    if (map64_put(table->files, ino, file, e)) {
        free(file);
        return NULL;
    }
    return file;
}

void lock_file_drop_locked(struct lock_table *table, struct lock_file *file)
{
    if (file->owners || file->requests)
        return;
    (void)map64_remove(table->files, file->ino);
    free(file);
}

static struct lock_owner *find_owner(const struct lock_file *file, enum meta_lock_kind kind,
                                     uint64_t owner)
{
    struct lock_owner *o = file ? file->owners : NULL;
    while (o && (o->kind != kind || o->owner != owner))
        o = o->next;
    return o;
}

static struct lock_owner *get_owner_locked(struct lock_table *table, struct lock_file *file,
                                           const struct meta_lock *what)
{
    struct lock_owner *o = find_owner(file, what->kind, what->owner);
    if (o)
        return o;
    o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    *o = (struct lock_owner){.kind = what->kind, .owner = what->owner, .next = file->owners};
    file->owners = o;
    table->owner_count++;
    return o;
}

static void set_held(struct lock_owner *o, bool is_held)
{
    metric_add(&metric_held, (int64_t)is_held - (int64_t)o->is_held);
    o->is_held = is_held;
}

/* Forget an owner of whom there is nothing left to know, and the file with the last of them. */
static void drop_owner_locked(struct lock_table *table, struct lock_file *file,
                              struct lock_owner *o)
{
    if (o->is_held || o->is_lost || o->is_leaving || o->busy)
        return;
    struct lock_owner **link = &file->owners;
    while (*link != o)
        link = &(*link)->next;
    *link = o->next;
    free(o);
    table->owner_count--;
    lock_file_drop_locked(table, file);
}

static void wake_locked(struct lock_table *table, struct lock_file *file)
{
    file->is_woken = true;
    file->pause_ms = FIRST_PAUSE_MS;
    file->due_ms = 0;
    lock_broadcast(&table->wake);
}

/* ---- one exchange ---- */

static bool is_whole(const struct meta_lock *what)
{
    return what->type == META_LOCK_NONE &&
           (what->kind == META_FLOCK || (what->start == 0 && what->end == META_LOCK_EOF));
}

static struct meta_lock everything_of(ino_num ino, enum meta_lock_kind kind, uint64_t owner)
{
    return (struct meta_lock){
        .ino = ino, .kind = kind, .type = META_LOCK_NONE, .owner = owner, .end = META_LOCK_EOF};
}

/* An operation of an owner that is on its way. */
struct
try {
    struct lock_table *table;
    struct lock_file *file;
    struct lock_owner *owner;
    uint64_t fence, grants; /* as they were at its begin */
};

/*
 * The owner's number may be that of a process that closed the file, and whose locks could not be
 * unlocked then: they go before anything new is asked for. *is_done: there is nothing to unlock.
 */
static enum rc leave_locked(struct lock_table *table, struct lock_file *file, struct lock_owner *o,
                            struct err *e)
{
    const struct meta_lock all = everything_of(file->ino, o->kind, o->owner);
    struct node_attr ignored;
    enum rc rc = RC_OK;

    o->busy++; /* keeps the entry */
    while (o->is_unlocking)
        (void)lock_wait(&table->wake, &table->lock, CLOCK_FOREVER_MS);
    if (o->is_leaving) {
        o->is_unlocking = true;
        lock_drop(&table->lock);
        rc = meta_setlk(table->vfs->meta, &all, &ignored, e);
        lock_take(&table->lock);
        o->is_unlocking = false;
        if (rc == RC_OK || rc == RC_STALE) {
            o->is_leaving = false;
            set_held(o, false);
        }
        wake_locked(table, file);
    }
    o->busy--;
    return rc;
}

static enum rc lost(ino_num ino, struct err *e)
{
    return err_refused(e, EIO, "locks of inode %llu were lost with the session of this mount",
                       (unsigned long long)ino);
}

/* Enter the operation. try->owner is NULL when there is nothing to unlock. */
static enum rc begin_try(struct vfs_file *handle, const struct meta_lock *what, struct try *try,
                         struct err *e)
{
    struct lock_table *table = handle->vfs->locks;
    *try = (struct try){.table = table};

    LOCK_SCOPE(&table->lock);
    if (what->type == META_LOCK_NONE &&
        !find_owner(map64_get(table->files, what->ino), what->kind, what->owner))
        return RC_OK;
    try->file = lock_file_get_locked(table, what->ino, e);
    if (!try->file)
        return e->code;
    struct lock_owner *o = get_owner_locked(table, try->file, what);
    if (!o) {
        lock_file_drop_locked(table, try->file);
        return err_fail(e, RC_NO_SPACE, "could not allocate a lock");
    }
    if (o->is_lost)
        return lost(what->ino, e);
    if (o->is_leaving && leave_locked(table, try->file, o, e))
        return e->code;
    o->busy++;
    if (what->type != META_LOCK_NONE)
        o->handle = handle;
    try->owner = o;
    try->fence = table->fence;
    try->grants = o->grants;
    return RC_OK;
}

/* What the outcome says about the owner. An unknown one may have left a lock. */
static void note_outcome_locked(struct try *try, const struct meta_lock *what, enum rc rc)
{
    struct lock_owner *o = try->owner;
    const bool is_sole = o->busy == 0 && o->grants == try->grants;

    if (rc == RC_OK && what->type != META_LOCK_NONE)
        o->grants++;
    if (rc == RC_OK && is_whole(what) && is_sole)
        set_held(o, false);
    else if (rc == RC_OK ? what->type != META_LOCK_NONE : rc != RC_REFUSED && rc != RC_STALE)
        set_held(o, true);
    /* An unlock, or a read lock where there was a write lock. */
    if (rc == RC_OK && what->type != META_LOCK_WRITE)
        wake_locked(try->table, try->file);
}

static enum rc end_try(struct try *try, const struct meta_lock *what, enum rc rc, struct err *e)
{
    struct lock_table *table = try->table;
    bool is_fenced;
    {
        LOCK_SCOPE(&table->lock);
        try->owner->busy--;
        is_fenced = table->fence != try->fence;
        if (!is_fenced)
            note_outcome_locked(try, what, rc);
        else if (rc == RC_OK && what->type != META_LOCK_NONE)
            try->owner->is_lost = true;
        drop_owner_locked(table, try->file, try->owner);
    }
    if (!is_fenced)
        return rc;
    /* It may have come into the next session: nobody counts on it there. */
    const struct meta_lock all = everything_of(what->ino, what->kind, what->owner);
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
        find_owner(map64_get(table->files, what->ino), what->kind, what->owner);
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
    struct try try;

    *is_stale = false;
    if (may_let_go(handle->vfs->locks, what))
        commit_pending(handle->inode);
    enum rc rc = begin_try(handle, what, &try, e);
    if (rc || !try.owner)
        return rc;
    rc = end_try(&try, what, meta_setlk(handle->vfs->meta, what, &attr, e), e);
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
            find_owner(map64_get(table->files, lock->ino), lock->kind, lock->owner);
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
    struct lock_owner *o = find_owner(file, all->kind, all->owner);
    if (!o)
        return;
    if (e.code == RC_STALE || o->is_lost) { /* the rows went with the session */
        o->is_lost = false;
        set_held(o, false);
    } else if (!o->is_leaving) {
        log_err(LOG_LEVEL_WARN, &e, "a lock outlives its file; it is let go as soon as possible");
        o->is_leaving = true;
    }
    drop_owner_locked(table, file, o);
}

void vfs_unlock_owner(struct vfs_file *file, uint64_t owner)
{
    struct lock_table *table = file->vfs->locks;
    if (atomic_load(&table->owner_count) == 0)
        return;
    const struct meta_lock all = everything_of(file->inode->ino, META_PLOCK, owner);
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
    *out = everything_of(file->ino, o->kind, o->owner);
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

/* ---- the session ---- */

static _Bool lose_file(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value;
    (void)key;
    (void)ctx;
    for (struct lock_owner *o = file->owners; o; o = o->next) {
        o->is_lost = o->is_lost || (o->is_held && !o->is_leaving);
        o->is_leaving = false;
        set_held(o, false);
    }
    return true;
}

void lock_table_fence(struct lock_table *table)
{
    LOCK_SCOPE(&table->lock);
    table->fence++;
    map64_each(table->files, lose_file, NULL);
}

/* One that is to be let go and that nobody is at work on. */
static _Bool find_leaving(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value, **found = ctx;
    (void)key;
    for (const struct lock_owner *o = file->owners; o; o = o->next)
        if (o->is_leaving && !o->busy)
            *found = file;
    return *found == NULL;
}

void lock_table_tick(struct lock_table *table)
{
    struct lock_file *file = NULL;
    struct err e = ERR_INIT; /* told at the close; and it comes back each second */

    LOCK_SCOPE(&table->lock);
    if (table->owner_count)
        map64_each(table->files, find_leaving, &file);
    struct lock_owner *o = file ? file->owners : NULL;
    while (o && (!o->is_leaving || o->busy))
        o = o->next;
    if (!o)
        return;
    (void)!leave_locked(table, file, o, &e);
    drop_owner_locked(table, file, o);
}

/* ---- opening and closing the table ---- */

enum rc lock_table_open(struct lock_table **out, struct vfs *vfs, struct err *e)
{
    const struct pool_options waiter = {.name = "vfslock", .max_threads = 1, .max_queued = 1};
    struct lock_table *table = calloc(1, sizeof(*table));
    if (!table)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of locks");
    table->vfs = vfs;
    table->tail = &table->first;
    lock_init(&table->lock, LOCK_VFS_LOCKS);
    lock_cond_init(&table->wake);
    *out = table;
    enum rc rc = map64_open(&table->files, e);
    return rc ? rc : pool_open(&table->pool, &waiter, e);
}

static _Bool free_file(uint64_t key, void *value, void *ctx)
{
    struct lock_file *file = value;
    (void)key;
    (void)ctx;
    while (file->owners) {
        struct lock_owner *o = file->owners;
        file->owners = o->next;
        set_held(o, false);
        free(o);
    }
    free(file);
    return true;
}

void lock_table_stop(struct lock_table *table)
{
    if (!table)
        return;
    lock_take(&table->lock);
    table->is_closing = true;
    lock_broadcast(&table->wake);
    lock_drop(&table->lock);
    pool_close(&table->pool);
}

void lock_table_close(struct lock_table **table)
{
    struct lock_table *t = *table;
    if (!t)
        return;
    *table = NULL;
    lock_table_stop(t);
    if (t->files)
        map64_each(t->files, free_file, NULL);
    map64_close(&t->files);
    lock_cond_deinit(&t->wake);
    lock_deinit(&t->lock);
    free(t);
}
