#include "fs/vfs/tend.h"

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/vfs/commit.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/writer.h"

enum {
    TICK_MS = 1000,
    HEARTBEAT_MS = 12000,
};

/* Wait for the next tick; false when the vfs is closing. */
static bool wait_tick(struct vfs *vfs)
{
    const uint64_t until = clock_deadline(TICK_MS);
    LOCK_SCOPE(&vfs->tick_lock);
    while (!vfs->is_closing && lock_wait(&vfs->tick, &vfs->tick_lock, until))
        ;
    return !vfs->is_closing;
}

/* ---- the session ---- */

static void lose_pending(struct inode *in, void *arg)
{
    (void)arg;
    LOCK_SCOPE(&in->lock);
    commit_fence_locked(in);
}

static void volume_gone(struct vfs *vfs, const struct err *why)
{
    lock_take(&vfs->table);
    void (*gone)(void *arg, const struct err *why) = vfs->gone;
    void *arg = vfs->gone_arg;
    vfs->gone = NULL;
    lock_drop(&vfs->table);
    if (gone)
        gone(arg, why);
}

/*
 * Another client ended the session, because this mount was silent for too long. What was buffered
 * under it must never reach the volume, for others may have gone on: so it is given up first, and
 * only then does a new session begin, in which commits are possible again.
 */
static void follow_session(struct vfs *vfs, const struct err *why)
{
    struct err e = ERR_INIT;
    log_err(LOG_LEVEL_ERROR, why, "unsaved writes are lost");
    inode_each(vfs, lose_pending, NULL);
    lock_table_fence(vfs->locks);
    if (meta_session_renew(vfs->meta, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not begin a new session yet");
    else
        log_info("session %llu has begun", (unsigned long long)meta_session_id(vfs->meta));
}

/* What one beat met; a state that lasts is logged when it begins and when it ends. */
static void note_beat(struct vfs *vfs, enum rc rc, const struct err *e, bool *is_failing)
{
    if (rc == RC_STALE) {
        follow_session(vfs, e);
    } else if (rc == RC_INVALID) {
        if (!*is_failing)
            log_err(LOG_LEVEL_ERROR, e, "the database holds another volume now");
        volume_gone(vfs, e);
    } else if (rc && !*is_failing) {
        log_err(LOG_LEVEL_WARN, e, "the heartbeat does not get through");
    } else if (!rc && *is_failing) {
        log_info("the heartbeat gets through again");
    }
    *is_failing = rc != RC_OK && rc != RC_STALE;
}

/* After a promotion blocks are written and read elsewhere. */
static void follow_stores(struct vfs *vfs)
{
    struct err e = ERR_INIT;
    if (volume_follow(vfs->volume, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not open the buckets of this site's new role yet");
}

static void flush_usage(struct vfs *vfs, bool *is_failing)
{
    struct err e = ERR_INIT;
    if (vfs->is_read_only)
        return;
    enum rc rc = meta_flush_usage(vfs->meta, &e);
    if (rc && !*is_failing)
        log_err(LOG_LEVEL_WARN, &e, "could not flush usage; it is kept and tried again");
    *is_failing = rc != RC_OK;
}

static void tend_session(void *arg)
{
    struct vfs *vfs = arg;
    bool usage_fails = false, beat_fails = false;
    uint64_t next_beat = clock_deadline(HEARTBEAT_MS);

    while (wait_tick(vfs)) {
        const bool is_back = meta_tend(vfs->meta);
        flush_usage(vfs, &usage_fails);
        if (!is_back && clock_left(next_beat))
            continue;
        struct err e = ERR_INIT;
        struct meta_vitals vitals;
        next_beat = clock_deadline(HEARTBEAT_MS);
        enum rc rc = meta_refresh(vfs->meta, &vitals, &e);
        note_beat(vfs, rc, &e, &beat_fails);
        follow_stores(vfs);
    }
}

/* ---- writes ---- */

static void run_commit(void *arg)
{
    struct inode *in = arg;
    struct err e = ERR_INIT;
    if (writer_commit_ready(in, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not commit yet");
    inode_put(&in);
}

static void begin_commit(struct inode *in)
{
    struct err busy = ERR_INIT; /* then the next tick comes back to it */
    inode_ref(in);
    if (pool_submit(in->vfs->commits, run_commit, in, &busy))
        inode_put(&in);
}

static bool take_notice(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    bool wants_notice = in->wants_notice;
    in->wants_notice = false;
    return wants_notice;
}

void tend_notify(struct vfs *vfs, ino_num ino)
{
    lock_take(&vfs->table);
    void (*tell)(void *arg, ino_num ino) = vfs->notify;
    void *arg = vfs->notify_arg;
    lock_drop(&vfs->table);
    if (tell)
        tell(arg, ino == vfs->root ? META_ROOT : ino);
}

static void tick_inode(struct inode *in, void *arg)
{
    (void)arg;
    if (writer_tick(in, false))
        begin_commit(in);
    if (take_notice(in))
        tend_notify(in->vfs, in->ino);
}

static void tend_writes(void *arg)
{
    struct vfs *vfs = arg;
    while (wait_tick(vfs)) {
        inode_each(vfs, tick_inode, NULL);
        lock_table_tick(vfs->locks);
    }
}

static void relieve_inode(struct inode *in, void *arg)
{
    (void)arg;
    if (writer_tick(in, true))
        begin_commit(in);
}

void tend_relieve(struct vfs *vfs)
{
    inode_each(vfs, relieve_inode, NULL);
}

/* ---- start and stop ---- */

enum rc tend_start(struct vfs *vfs, struct err *e)
{
    enum rc rc = pool_submit(vfs->keepers, tend_session, vfs, e);
    if (!rc && !vfs->is_read_only)
        rc = pool_submit(vfs->keepers, tend_writes, vfs, e);
    return rc;
}

void tend_stop(struct vfs *vfs)
{
    lock_take(&vfs->tick_lock);
    vfs->is_closing = true;
    lock_broadcast(&vfs->tick);
    lock_drop(&vfs->tick_lock);
    pool_close(&vfs->keepers);
}
