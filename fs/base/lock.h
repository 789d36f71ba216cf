/*
 * lock - mutexes with a rank, so that a wrong order is found by the first test that takes it.
 *
 * A thread may only take a lock of a higher rank than every lock it holds. Debug builds abort on
 * a breach; release builds are plain pthread mutexes. No lock is held across I/O, a callback or a
 * FUSE reply.
 *
 * Ranks are listed here and nowhere else, outermost first.
 */
#ifndef FS_BASE_LOCK_H
#define FS_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
    LOCK_MOUNT_TALKS = 4, /* the conversations through .control */
    LOCK_MOUNT_TALK = 5,  /* one of them */
    LOCK_VFS_TABLE = 10,  /* the inode table */
    LOCK_VFS_INODE = 20,  /* one inode's handles, writer and slice lists */
    LOCK_VFS_USAGE = 25,  /* pending usage deltas */
    LOCK_VFS_LOCKS = 27,  /* owners of file locks, and who waits for one */
    LOCK_VFS_DIRS = 28,   /* what is known of directories */
    LOCK_CACHE_FLIGHT = 30,
    LOCK_CACHE_MEMORY = 35,
    LOCK_CACHE_DISK = 40,
    LOCK_META_SESSION = 48, /* the handle: its format, its session, the servers it knows */
    LOCK_META_POOL = 50,
    LOCK_META_CONN = 52, /* one connection's calls on their way */
    LOCK_META_IDS = 55,
    LOCK_STORE = 60,
    LOCK_BASE_QUEUE = 80, /* leaf: pools, queues */
    LOCK_BASE_METRIC = 90,
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};

struct lock_cond {
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_deinit(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);

void lock_cond_init(struct lock_cond *c);
void lock_cond_deinit(struct lock_cond *c);
/* Wait until signalled or deadline_ms (CLOCK_FOREVER_MS: none). False on time-out. */
bool lock_wait(struct lock_cond *c, struct lock *l, uint64_t deadline_ms);
void lock_signal(struct lock_cond *c);
void lock_broadcast(struct lock_cond *c);

static inline void lock_scope_end(struct lock **l)
{
    if (*l)
        lock_drop(*l);
}

/* Hold l until the end of the block. */
#define LOCK_SCOPE(l)                                                                              \
    __attribute__((cleanup(lock_scope_end), unused)) struct lock *lock_scope_ = (lock_take(l), (l))

#endif
