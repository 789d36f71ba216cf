/*
 * Requests for locks, from their start to their `done`, and the worker that asks for those that
 * wait.
 *
 *   state      in the queue   ends by
 *   asking     no             done, or waiting
 *   waiting    yes            done: the lock was free, or it was cancelled
 *   granted    yes            done, after the kernel has dropped its old pages
 *
 * To tell the kernel means to wait for reads of the same pages, which need a serving thread: a
 * serving thread must not do it, or all of them could wait for each other.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "fs/vfs/lock_table.h"
#include "fs/vfs/tend.h"

enum {
    LAST_PAUSE_MS = 50,
    FILES_AT_ONCE = 1024,
};

METRIC_DEFINE(metric_waiting, METRIC_GAUGE, "tarn_lock_waiting", NULL,
              "requests that wait for a lock on a file")
METRIC_DEFINE(metric_waits, METRIC_COUNTER, "tarn_lock_waits_total", NULL,
              "requests that had to wait for a lock on a file")

/* ---- the queue ---- */

static void serve(void *arg);

/* Not RC_CANCELLED: the kernel takes EINTR for a signal, and would begin the request again. */
static enum rc unmounting(struct err *e)
{
    return err_refused(e, ENOTCONN, "the volume is being unmounted");
}

/* Hand the request to the worker. RC_UNAVAILABLE: there is none. */
static enum rc enqueue(struct vfs_lock_request *r, struct err *e)
{
    struct lock_table *table = r->handle->vfs->locks;

    LOCK_SCOPE(&table->lock);
    if (table->is_closing)
        return unmounting(e);
    if (!table->is_serving && pool_submit(table->pool, serve, table, e))
        return e->code;
    table->is_serving = true;
    struct lock_file *file = lock_file_get_locked(table, r->what.ino, e);
    if (!file)
        return e->code;
    file->requests++;
    file->due_ms = 0;
    r->file = file;
    r->next = NULL;
    *table->tail = r;
    table->tail = &r->next;
    metric_add(&metric_waiting, 1);
    lock_broadcast(&table->wake);
    return RC_OK;
}

static void dequeue_locked(struct lock_table *table, struct vfs_lock_request *r)
{
    struct vfs_lock_request **link = &table->first;
    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    if (!r->next)
        table->tail = link;
    if (--r->file->requests == 0)
        r->file->is_looked_at = false; /* the round goes on without it */
    lock_file_drop_locked(table, r->file);
    metric_add(&metric_waiting, -1);
}

static void end_request(struct vfs_lock_request *r, const struct err *outcome)
{
    r->done(r->arg, outcome);
    free(r);
}

/* ---- the worker ---- */

static void finish_locked(struct lock_table *table, struct vfs_lock_request *r,
                          const struct err *outcome)
{
    struct vfs *vfs = table->vfs;
    const ino_num ino = r->what.ino;
    const bool is_granted = r->is_granted;

    dequeue_locked(table, r);
    lock_drop(&table->lock);
    if (is_granted)
        tend_notify(vfs, ino);
    end_request(r, outcome);
    lock_take(&table->lock);
}

/* Those that need nothing more from the database. */
static void finish_ready_locked(struct lock_table *table)
{
    struct err granted = ERR_INIT, cancelled = ERR_INIT, ended = ERR_INIT;
    (void)err_fail(&cancelled, RC_CANCELLED, "the wait for a lock was interrupted");
    (void)!unmounting(&ended);
    for (struct vfs_lock_request *r = table->first; r;) {
        if (r->is_granted)
            finish_locked(table, r, &granted);
        else if (r->is_cancelled || table->is_closing)
            finish_locked(table, r, r->is_cancelled ? &cancelled : &ended);
        else {
            r = r->next;
            continue;
        }
        r = table->first; /* the list may be another by now */
    }
}

/* One look at the locks of some files, and the requests that it is for. */
struct look {
    ino_num inos[FILES_AT_ONCE];
    size_t ino_count;
    struct vfs_lock_request **requests;
    size_t request_count;
    struct meta_lock_row *rows; /* as they were at the look */
    size_t row_count;
    struct meta_lock_row *granted; /* to us since; one for each request at most */
    size_t granted_count;
};

/* Files that will be due a little later come along: then all of them are due together next time. */
static bool is_soon(const struct lock_file *file, uint64_t now)
{
    return file->due_ms <= now + file->pause_ms / 2;
}

/* Choose what to look at. False when nothing is due yet; then *next_ms is when. */
static bool choose_locked(struct lock_table *table, struct look *look, uint64_t *next_ms)
{
    const uint64_t now = clock_ms();
    *next_ms = CLOCK_FOREVER_MS;
    for (struct vfs_lock_request *r = table->first; r; r = r->next) {
        struct lock_file *file = r->file;
        if (file->due_ms < *next_ms)
            *next_ms = file->due_ms;
        if (!file->is_looked_at && is_soon(file, now) && look->ino_count < FILES_AT_ONCE) {
            file->is_looked_at = true;
            file->is_woken = false;
            look->inos[look->ino_count++] = file->ino;
        }
        look->request_count += file->is_looked_at;
    }
    return look->ino_count > 0;
}

static bool list_requests_locked(struct lock_table *table, struct look *look)
{
    look->requests = calloc(look->request_count, sizeof(*look->requests));
    look->granted = calloc(look->request_count, sizeof(*look->granted));
    size_t n = 0;
    for (struct vfs_lock_request *r = table->first; r && look->requests; r = r->next)
        if (r->file->is_looked_at && n < look->request_count)
            look->requests[n++] = r;
    look->request_count = n;
    return look->requests && look->granted;
}

static bool is_excluded(const struct meta_lock_row *rows, size_t count, uint64_t sid,
                        const struct meta_lock *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (meta_lock_conflicts(&rows[i], sid, wanted))
            return true;
    return false;
}

static bool is_free(const struct look *look, uint64_t sid, const struct meta_lock *wanted)
{
    return !is_excluded(look->rows, look->row_count, sid, wanted) &&
           !is_excluded(look->granted, look->granted_count, sid, wanted);
}

static bool is_cancelled(struct lock_table *table, const struct vfs_lock_request *r)
{
    LOCK_SCOPE(&table->lock);
    return r->is_cancelled || table->is_closing;
}

/* Ask for the locks that look free. */
static void ask_for_free(struct lock_table *table, struct look *look)
{
    const uint64_t sid = meta_session_id(table->vfs->meta);
    for (size_t i = 0; i < look->request_count; i++) {
        struct vfs_lock_request *r = look->requests[i];
        struct err e = ERR_INIT;
        bool is_stale = false;
        if (is_cancelled(table, r) || !is_free(look, sid, &r->what))
            continue;
        if (lock_try(r->handle, &r->what, &is_stale, &e) == RC_OK)
            look->granted[look->granted_count++] = (struct meta_lock_row){sid, r->what};
        else if (lock_is_busy(&e))
            continue; /* somebody else was quicker */
        LOCK_SCOPE(&table->lock);
        r->is_granted = is_stale;
        finish_locked(table, r, &e);
    }
}

static void fail_all_locked(struct lock_table *table, struct look *look, const struct err *e)
{
    for (size_t i = 0; i < look->request_count; i++)
        finish_locked(table, look->requests[i], e);
}

/* Files that were looked at and still have somebody waiting come again, later each time. */
static void set_pauses_locked(struct lock_table *table)
{
    for (const struct vfs_lock_request *r = table->first; r; r = r->next) {
        struct lock_file *file = r->file;
        if (!file->is_looked_at)
            continue;
        file->is_looked_at = false;
        file->due_ms = file->is_woken ? 0 : clock_deadline(file->pause_ms);
        file->pause_ms = 2 * file->pause_ms < LAST_PAUSE_MS ? 2 * file->pause_ms : LAST_PAUSE_MS;
    }
}

static void look_locked(struct lock_table *table, struct look *look)
{
    struct err e = ERR_INIT;
    const bool is_listed = list_requests_locked(table, look);
    bool is_seen = false;

    lock_drop(&table->lock);
    if (!is_listed)
        err_fail(&e, RC_NO_SPACE, "out of memory");
    else if (meta_lock_rows(table->vfs->meta, look->inos, look->ino_count, &look->rows,
                            &look->row_count, &e) == RC_OK)
        is_seen = true;
    if (is_seen)
        ask_for_free(table, look);
    lock_take(&table->lock);
    if (!is_seen)
        fail_all_locked(table, look, &e);
    set_pauses_locked(table);
    free(look->requests);
    free(look->rows);
    free(look->granted);
}

static void serve(void *arg)
{
    struct lock_table *table = arg;
    LOCK_SCOPE(&table->lock);
    for (;;) {
        finish_ready_locked(table);
        if (!table->first)
            break;
        struct look look = {.ino_count = 0};
        uint64_t next_ms;
        if (choose_locked(table, &look, &next_ms))
            look_locked(table, &look);
        else
            (void)lock_wait(&table->wake, &table->lock, next_ms);
    }
    table->is_serving = false;
}

/* ---- requests ---- */

enum rc vfs_lock_prepare(struct vfs_file *file, const struct meta_lock *what, bool may_wait,
                         vfs_lock_done done, void *arg, struct vfs_lock_request **out,
                         struct err *e)
{
    struct vfs_lock_request *r = calloc(1, sizeof(*r));
    if (!r)
        return err_fail(e, RC_NO_SPACE, "could not allocate a request for a lock");
    *r = (struct vfs_lock_request){
        .handle = file, .what = *what, .may_wait = may_wait, .done = done, .arg = arg};
    r->what.ino = file->inode->ino;
    *out = r;
    return RC_OK;
}

/*
 * flock(2) lets a lock go before it waits for a stronger one. Two that kept their read locks while
 * they wait to write would wait for each other.
 */
static void give_up_flock(struct vfs_lock_request *r)
{
    struct err ignored = ERR_INIT; /* met again by whoever waits */
    struct meta_lock unlock = r->what;
    bool is_stale;
    unlock.type = META_LOCK_NONE;
    if (r->what.kind == META_FLOCK)
        (void)!lock_try(r->handle, &unlock, &is_stale, &ignored);
}

void vfs_lock_start(struct vfs_lock_request *r)
{
    struct err e = ERR_INIT;
    if (!vfs_check_writable(r->handle->vfs, &e))
        (void)!lock_try(r->handle, &r->what, &r->is_granted, &e);
    if (lock_is_busy(&e) && r->may_wait) {
        give_up_flock(r);
        metric_add(&metric_waits, 1);
        e = ERR_INIT;
        if (enqueue(r, &e) == RC_OK)
            return;
    } else if (e.code == RC_OK && r->is_granted) {
        if (enqueue(r, &e) == RC_OK)
            return;
        tend_notify(r->handle->vfs, r->what.ino); /* better here than not at all */
        e = ERR_INIT;
    }
    end_request(r, &e);
}

void vfs_lock_cancel(struct vfs_lock_request *r)
{
    struct lock_table *table = r->handle->vfs->locks;
    LOCK_SCOPE(&table->lock);
    r->is_cancelled = true;
    lock_broadcast(&table->wake);
}
