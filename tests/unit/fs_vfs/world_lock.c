/* Locks of the world: a list. An unlock takes away what lies in its range as a whole. */
#include "tests/unit/fs_vfs/world_lock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/meta/file.h"

enum { ROWS = 4096 };

struct world_lock_switches world_lock;

static struct {
    pthread_mutex_t mutex;
    struct meta_lock_row rows[ROWS];
    size_t count;
} held = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void world_lock_clear(void)
{
    held.count = 0;
    memset(&world_lock, 0, sizeof(world_lock));
}

static void unlock(uint64_t sid, const struct meta_lock *what)
{
    size_t kept = 0;
    for (size_t i = 0; i < held.count; i++) {
        const struct meta_lock *l = &held.rows[i].lock;
        bool is_gone = held.rows[i].sid == sid && l->owner == what->owner && l->ino == what->ino &&
                       l->kind == what->kind && l->start >= what->start && l->end <= what->end;
        if (!is_gone)
            held.rows[kept++] = held.rows[i];
    }
    held.count = kept;
}

bool world_lock_set(uint64_t sid, const struct meta_lock *what)
{
    pthread_mutex_lock(&held.mutex);
    bool is_free = true;
    for (size_t i = 0; i < held.count; i++)
        is_free = is_free && !meta_lock_conflicts(&held.rows[i], sid, what);
    if (is_free) {
        unlock(sid, what);
        if (what->type != META_LOCK_NONE && held.count < ROWS)
            held.rows[held.count++] = (struct meta_lock_row){sid, *what};
    }
    pthread_mutex_unlock(&held.mutex);
    return is_free;
}

enum rc meta_setlk(struct meta *meta, const struct meta_lock *lock, struct node_attr *out,
                   struct err *e)
{
    atomic_fetch_add(&world_lock.sets, 1);
    const enum rc outcome = (enum rc)atomic_load(&world_lock.outcome);
    if (outcome)
        return err_fail(e, outcome, "the world says so");
    if (!world_lock_set(meta_session_id(meta), lock))
        return err_refused(e, EAGAIN, "held");
    if (atomic_exchange(&world_lock.loses_answer, false))
        return err_fail(e, RC_UNAVAILABLE, "done, and the answer is lost");
    return meta_getattr(meta, lock->ino, out, e);
}

enum rc meta_getlk(struct meta *meta, struct meta_lock *lock, struct err *e)
{
    (void)e;
    pthread_mutex_lock(&held.mutex);
    const struct meta_lock wanted = *lock;
    lock->type = META_LOCK_NONE;
    for (size_t i = 0; i < held.count; i++)
        if (meta_lock_conflicts(&held.rows[i], meta_session_id(meta), &wanted))
            *lock = held.rows[i].lock;
    pthread_mutex_unlock(&held.mutex);
    return RC_OK;
}

enum rc meta_lock_rows(struct meta *meta, const ino_num *inos, size_t ino_count,
                       struct meta_lock_row **out, size_t *count, struct err *e)
{
    (void)meta;
    atomic_fetch_add(&world_lock.looks, 1);
    pthread_mutex_lock(&held.mutex);
    *count = 0;
    *out = calloc(held.count + 1, sizeof(**out));
    for (size_t i = 0; *out && i < held.count; i++)
        for (size_t k = 0; k < ino_count; k++)
            if (held.rows[i].lock.ino == inos[k])
                (*out)[(*count)++] = held.rows[i];
    pthread_mutex_unlock(&held.mutex);
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}
