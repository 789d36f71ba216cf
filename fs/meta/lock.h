/*
 * lock - locks of files that all mounts obey, as flock(2) and fcntl(2) know them: one verb, one
 * exchange.
 *
 * A lock belongs to an owner: this session and a number that the kernel made up. Nobody waits in
 * the database: a lock that somebody else holds is refused with EAGAIN, and whoever wants to wait
 * looks again (meta_lock_rows() for many at once).
 *
 * Threads   any
 * Blocking  waits for PostgreSQL
 * Source    volume format §9
 */
#ifndef FS_META_LOCK_H
#define FS_META_LOCK_H

#include "fs/meta/meta.h"

enum meta_lock_kind {
    META_FLOCK, /* of the whole file; start, end and pid mean nothing */
    META_PLOCK,
};

/* As in fcntl.h, and in the database. */
enum meta_lock_type {
    META_LOCK_READ = 0,
    META_LOCK_WRITE = 1,
    META_LOCK_NONE = 2,
};

#define META_LOCK_EOF ((uint64_t)INT64_MAX) /* the end of a range that has none */

struct meta_lock {
    ino_num ino;
    enum meta_lock_kind kind;
    enum meta_lock_type type;
    uint64_t owner;
    uint64_t start, end; /* both inclusive */
    uint32_t pid;
};

/*
 * What is in the way of the fcntl lock *lock: *lock becomes it, with pid 0 for one of another
 * session; its type is META_LOCK_NONE when nothing is.
 */
MUST_CHECK enum rc meta_getlk(struct meta *meta, struct meta_lock *lock, struct err *e);

/*
 * Lock or unlock. *out are the attributes under the lock, by which the caller knows whether what it
 * has cached is what the last holder wrote; out->ino is 0 when a file that is gone was unlocked.
 *
 * RC_REFUSED  EAGAIN: somebody else holds a lock that excludes it; ENOENT: no such inode
 */
MUST_CHECK enum rc meta_setlk(struct meta *meta, const struct meta_lock *lock,
                              struct node_attr *out, struct err *e);

/* A lock that somebody holds. */
struct meta_lock_row {
    uint64_t sid;
    struct meta_lock lock;
};

/* Every lock on these inodes, of all sessions. The caller frees *out. */
MUST_CHECK enum rc meta_lock_rows(struct meta *meta, const ino_num *inos, size_t ino_count,
                                  struct meta_lock_row **out, size_t *count, struct err *e);

/* Would row, held by another owner, exclude `wanted`, asked for by session sid? */
static inline bool meta_lock_conflicts(const struct meta_lock_row *row, uint64_t sid,
                                       const struct meta_lock *wanted)
{
    const struct meta_lock *held = &row->lock;
    const bool is_own = row->sid == sid && held->owner == wanted->owner;
    const bool is_same_file = held->ino == wanted->ino && held->kind == wanted->kind;
    const bool has_writer = held->type == META_LOCK_WRITE || wanted->type == META_LOCK_WRITE;
    return is_same_file && !is_own && has_writer &&
           (wanted->kind == META_FLOCK ||
            (held->start <= wanted->end && wanted->start <= held->end));
}

#endif
