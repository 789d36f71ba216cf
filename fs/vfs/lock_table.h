/*
 * lock_table - what this mount knows of its locks: who may hold one, and who waits for one.
 * Private to lock*.c, but for the verbs at the end.
 *
 * Threads   everything in struct lock_table is of its lock, but for what is set at open
 */
#ifndef FS_VFS_LOCK_TABLE_H
#define FS_VFS_LOCK_TABLE_H

#include "fs/vfs/lock.h"
#include "fs/vfs/state.h"

/*
 * One owner of locks on one inode. The entry is there before the first lock is asked for and until
 * all are known to be gone:
 *
 *   state      meaning                              how it ends
 *   held       the database may have locks of it    unlocked as a whole, closed
 *   lost       they ended with the session          closed
 *   leaving    closed, but the unlock failed; or    tried again until it is done
 *              the answer to its only lock is lost,
 *              and the program was told a failure
 */
struct lock_owner {
    enum meta_lock_kind kind;
    uint64_t owner;
    const struct vfs_file *handle; /* the last through which a lock was asked for */
    bool is_held, is_lost, is_leaving;
    bool is_unlocking; /* somebody is at work on what is_leaving asks for */
    unsigned busy;     /* operations on their way */
    uint64_t grants;   /* so far */
    struct lock_owner *next;
};

/* An inode with owners or waiting requests. */
struct lock_file {
    ino_num ino;
    struct lock_owner *owners;
    unsigned requests; /* in the queue */
    uint64_t due_ms;   /* when the locks are looked at again */
    uint64_t pause_ms; /* after that */
    bool is_woken;     /* something was let go here since the last look */
    bool is_looked_at; /* in this round */
};

struct vfs_lock_request {
    struct vfs_file *handle;
    struct meta_lock what;
    bool may_wait;
    vfs_lock_done done;
    void *arg;

    /* of the table's lock */
    bool is_cancelled;
    bool is_granted; /* only the kernel is to be told that its pages are old */
    struct lock_file *file;
    struct vfs_lock_request *next;
};

struct lock_table {
    /* set at open */
    struct vfs *vfs;
    struct pool *pool;
    _Atomic size_t owner_count;

    struct lock lock;
    struct lock_cond wake; /* for the worker: a request, an end; for others: an unlock was tried */
    struct map64 *files;
    uint64_t fence; /* sessions lost so far */
    struct vfs_lock_request *first, **tail;
    bool is_serving, is_closing;
};

struct lock_file *lock_file_get_locked(struct lock_table *table, ino_num ino, struct err *e);
/* Forget the file if nobody owns or waits. */
void lock_file_drop_locked(struct lock_table *table, struct lock_file *file);

struct lock_owner *lock_owner_find(const struct lock_file *file, enum meta_lock_kind kind,
                                   uint64_t owner);
/* The entry of the owner that asks, made if there is none; NULL without memory. */
struct lock_owner *lock_owner_get_locked(struct lock_table *table, struct lock_file *file,
                                         const struct meta_lock *what);
void lock_owner_set_held(struct lock_owner *owner, bool is_held);
/* Forget an owner of whom there is nothing left to know, and the file with the last of them. */
void lock_owner_drop_locked(struct lock_table *table, struct lock_file *file,
                            struct lock_owner *owner);

/* Something was let go: who waits for the file looks again at once. */
void lock_wake_locked(struct lock_table *table, struct lock_file *file);

/* The unlock of everything an owner has. */
struct meta_lock lock_everything_of(ino_num ino, enum meta_lock_kind kind, uint64_t owner);
/* Unlock what an owner who is leaving left behind; drops the lock meanwhile. */
MUST_CHECK enum rc lock_leave_locked(struct lock_table *table, struct lock_file *file,
                                     struct lock_owner *owner, struct err *e);

/* One try. *is_stale: the kernel's pages of the file are older than the lock. */
MUST_CHECK enum rc lock_try(struct vfs_file *handle, const struct meta_lock *what, bool *is_stale,
                            struct err *e);
/* Is this outcome "somebody else has it"? */
bool lock_is_busy(const struct err *e);

/* ---- for the rest of the vfs ---- */

MUST_CHECK enum rc lock_table_open(struct lock_table **out, struct vfs *vfs, struct err *e);
/* End every wait; locks that are held end with the session. */
void lock_table_stop(struct lock_table *table);
void lock_table_close(struct lock_table **table);

/* The session ended: everything held is lost. Before the next one begins. */
void lock_table_fence(struct lock_table *table);
/* Each second: unlock what nobody counts on and could not be unlocked before. */
void lock_table_tick(struct lock_table *table);
/* The last close of a handle: the locks that were taken through it go. */
void lock_handle_closed(struct vfs_file *handle);

#endif
