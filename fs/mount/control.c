#include "fs/mount/control.h"

#include <errno.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/pool.h"
#include "fs/mount/reply.h"

enum {
    WORKERS = 8,
    QUEUED = 64,
    SESSIONS_MAX = 1024,
    PROGRESS_MS = 300,
    GIDS_MAX = 65536,
};
#define ANSWER_BYTES_MAX ((size_t)256 << 20)
#define PENDING_BYTES_MAX                                                                          \
    ((size_t)128 << 20)              /* of requests that are not complete, all together            \
                                      */
#define KEPT_BYTES ((size_t)2 << 20) /* of an answer that was read */

METRIC_DEFINE(requests, METRIC_COUNTER, "tarn_control_requests_total", NULL,
              "requests taken through .control")

struct control {
    struct control_context context; /* set at open */
    struct pool *pool;

    struct lock lock; /* guards the list */
    struct control_session *sessions;
    unsigned count;
    _Atomic size_t pending;
};

/*
 *   state     who has the watch, the request and the caller
 *   idle      the handle
 *   running   the worker; the handle may only cancel
 */
struct control_session {
    struct control *control;
    struct control_session *next, **back; /* of the control's lock */

    struct lock lock; /* guards the rest, except what the worker has */
    unsigned refs;    /* the handle's and the worker's */
    bool is_running, is_background;
    struct buf pending; /* bytes of a request that is not complete */
    struct buf stream;  /* what can be read, from `start` on */
    uint64_t start;
    uint64_t next_progress_ms;

    struct tree_watch watch;
    struct buf message;
    uint32_t uid, *gids;
    size_t gid_count;
};

/* ---- the list ---- */

enum rc control_session_open(struct control *control, struct control_session **out, struct err *e)
{
    struct control_session *s = calloc(1, sizeof(*s));
    if (!s)
        return err_fail(e, RC_NO_SPACE, "could not allocate a conversation");
    s->control = control;
    s->refs = 1;
    lock_init(&s->lock, LOCK_MOUNT_TALK);
    buf_init(&s->pending, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    buf_init(&s->message, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    buf_init(&s->stream, ANSWER_BYTES_MAX);

    lock_take(&control->lock);
    const bool is_full = control->count >= SESSIONS_MAX;
    if (!is_full) {
        control->count++;
        s->next = control->sessions;
        s->back = &control->sessions;
        if (s->next)
            s->next->back = &s->next;
        control->sessions = s;
    }
    lock_drop(&control->lock);
    if (is_full) {
        lock_deinit(&s->lock);
        free(s);
        return err_refused(e, ENFILE, "%d tools talk to this mount already", SESSIONS_MAX);
    }
    *out = s;
    return RC_OK;
}

static void forget_pending(struct control_session *s)
{
    atomic_fetch_sub(&s->control->pending, s->pending.size);
    buf_deinit(&s->pending);
}

static void unref(struct control_session *s)
{
    struct control *control = s->control;
    lock_take(&control->lock);
    lock_take(&s->lock);
    const bool is_last = --s->refs == 0;
    lock_drop(&s->lock);
    if (is_last) {
        *s->back = s->next;
        if (s->next)
            s->next->back = s->back;
        control->count--;
    }
    lock_drop(&control->lock);
    if (!is_last)
        return;
    forget_pending(s);
    buf_deinit(&s->message);
    buf_deinit(&s->stream);
    free(s->gids);
    lock_deinit(&s->lock);
    free(s);
}

/* ---- the worker ---- */

static void add_end_locked(struct control_session *s, const struct buf *answer, int posix_errno)
{
    struct err e = ERR_INIT;
    const uint64_t first = s->watch.first, second = s->watch.second;
    enum rc rc = RC_OK;
    if (first || second)
        rc = control_add_progress(&s->stream, first, second, &e);
    if (!rc)
        rc = answer->size && !posix_errno ? buf_add(&s->stream, answer->data, answer->size, &e)
                                          : control_add_errno(&s->stream, posix_errno, &e);
    if (rc)
        log_err(LOG_LEVEL_WARN, &e, "an answer of .control is lost");
}

static void run(void *arg)
{
    struct control_session *s = arg;
    struct err e = ERR_INIT;
    struct control_request request;
    const struct meta_caller who = {s->uid, s->gids, s->gid_count};
    auto_buf struct buf answer;
    buf_init(&answer, ANSWER_BYTES_MAX);

    enum rc rc = control_parse(buf_bytes(&s->message), &request, &e);
    if (!rc)
        rc = control_run(&s->control->context, &request, &who, &s->watch, &answer, &e);
    const int posix_errno = rc == RC_INVALID     ? EINVAL
                            : rc == RC_CANCELLED ? EINTR
                                                 : reply_errno(&e, "control", request.ino);
    lock_take(&s->lock);
    buf_deinit(&s->message);
    if (!s->is_background)
        add_end_locked(s, &answer, rc ? posix_errno : 0);
    s->is_running = s->is_background = false;
    lock_drop(&s->lock);
    unref(s);
}

/* ---- requests ---- */

static void answer_errno_locked(struct control_session *s, int posix_errno)
{
    struct err lost = ERR_INIT;
    if (control_add_errno(&s->stream, posix_errno, &lost))
        log_err(LOG_LEVEL_WARN, &lost, "an answer of .control is lost");
}

static enum rc take_caller(struct control_session *s, const struct meta_caller *who, struct err *e)
{
    const size_t count = who->gid_count < GIDS_MAX ? who->gid_count : GIDS_MAX;
    uint32_t *gids = malloc((count ? count : 1) * sizeof(*gids));
    if (!gids)
        return err_fail(e, RC_NO_SPACE, "could not remember %zu groups", count);
    memcpy(gids, who->gids, count * sizeof(*gids));
    free(s->gids);
    s->gids = gids;
    s->gid_count = count;
    s->uid = who->uid;
    return RC_OK;
}

/* A fill in the background is answered before it begins. */
static bool is_background(struct bytes message)
{
    struct control_request request;
    struct err e = ERR_INIT; /* told by the worker */
    return control_parse(message, &request, &e) == RC_OK && request.is_background;
}

static void answer_background_locked(struct control_session *s)
{
    static const char nothing[] =
        "{\"FileCount\":0,\"SliceCount\":0,\"TotalBytes\":0,\"MissBytes\":0,\"Locations\":{}}";
    struct err lost = ERR_INIT;
    if (control_add_data(&s->stream, (struct bytes){(const uint8_t *)nothing, sizeof(nothing) - 1},
                         &lost))
        log_err(LOG_LEVEL_WARN, &lost, "an answer of .control is lost");
}

/* Hand a whole request, taken over from *message, to a worker. */
static enum rc begin(struct control_session *s, const struct meta_caller *who, struct buf *message,
                     struct err *e)
{
    struct err busy = ERR_INIT;
    LOCK_SCOPE(&s->lock);
    if (s->is_running)
        return err_refused(e, EBUSY, "a request is being carried out");
    if (take_caller(s, who, e))
        return e->code;
    s->message = *message;
    *message = (struct buf){.data = NULL};
    s->watch.first = s->watch.second = 0;
    s->watch.is_cancelled = false;
    s->next_progress_ms = clock_deadline(PROGRESS_MS);
    s->is_running = true;
    s->refs++;
    metric_add(&requests, 1);
    if (pool_submit(s->control->pool, run, s, &busy) == RC_OK)
        return RC_OK;
    s->refs--;
    s->is_running = false;
    buf_deinit(&s->message);
    answer_errno_locked(s, EAGAIN);
    return RC_OK;
}

/* In a conversation of its own, which ends with the work; this one goes on at once. */
static enum rc begin_background(struct control_session *s, const struct meta_caller *who,
                                struct buf *message, struct err *e)
{
    struct control_session *own = NULL;
    if (control_session_open(s->control, &own, e))
        return e->code;
    own->is_background = true;
    enum rc rc = begin(own, who, message, e);
    control_session_close(&own);
    if (rc)
        return rc;
    LOCK_SCOPE(&s->lock);
    answer_background_locked(s);
    return RC_OK;
}

static enum rc add_pending_locked(struct control_session *s, struct bytes data, size_t *length,
                                  struct err *e)
{
    const size_t all = atomic_fetch_add(&s->control->pending, data.size) + data.size;
    struct err large = ERR_INIT;
    enum rc rc = RC_OK;
    if (all > PENDING_BYTES_MAX) {
        rc = err_refused(e, ENOBUFS, "requests of %zu bytes are not complete", all);
        atomic_fetch_sub(&s->control->pending, data.size);
    } else if (buf_add(&s->pending, data.data, data.size, &large)) {
        rc = err_refused(e, EFBIG, "a control message of more than %zu bytes", CONTROL_BODY_MAX);
        atomic_fetch_sub(&s->control->pending, data.size);
    } else if (control_length(buf_bytes(&s->pending), length, &large)) {
        rc = err_refused(e, EFBIG, "a control message of more than %zu bytes", CONTROL_BODY_MAX);
    }
    if (rc)
        forget_pending(s);
    return rc;
}

/* *message is the whole request once its last byte has come. */
static enum rc take_message(struct control_session *s, struct bytes data, struct buf *message,
                            struct err *e)
{
    size_t length = 0;
    LOCK_SCOPE(&s->lock);
    if (s->is_running)
        return err_refused(e, EBUSY, "a request is being carried out");
    if (add_pending_locked(s, data, &length, e))
        return e->code;
    if (length == 0 || s->pending.size < length)
        return RC_OK;
    /* What was there to be read lies before the request, and whoever reads on is behind it. */
    s->start += s->stream.size + s->pending.size;
    buf_deinit(&s->stream);
    if (s->pending.size > length) {
        forget_pending(s);
        answer_errno_locked(s, EIO); /* as stock mounts do */
        return RC_OK;
    }
    atomic_fetch_sub(&s->control->pending, s->pending.size);
    *message = s->pending;
    buf_init(&s->pending, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    return RC_OK;
}

enum rc control_session_write(struct control_session *s, const struct meta_caller *who,
                              struct bytes data, struct err *e)
{
    auto_buf struct buf message = {.data = NULL};
    if (take_message(s, data, &message, e) || message.size == 0)
        return e->code;
    return is_background(buf_bytes(&message)) ? begin_background(s, who, &message, e)
                                              : begin(s, who, &message, e);
}

/* ---- answers ---- */

/* Whoever reads in time is told how far it is; no frames pile up for one who does not. */
static void add_progress_locked(struct control_session *s, uint64_t off)
{
    struct err lost = ERR_INIT;
    if (!s->is_running || off != s->start + s->stream.size || clock_left(s->next_progress_ms) > 0)
        return;
    s->next_progress_ms = clock_deadline(PROGRESS_MS);
    if (control_add_progress(&s->stream, s->watch.first, s->watch.second, &lost))
        log_err(LOG_LEVEL_DEBUG, &lost, "progress is not told");
}

static void drop_read_locked(struct control_session *s, uint64_t off)
{
    if (s->stream.size <= KEPT_BYTES || off - s->start < KEPT_BYTES)
        return;
    const size_t gone = (size_t)(off - s->start) - KEPT_BYTES / 2;
    memmove(s->stream.data, s->stream.data + gone, s->stream.size - gone);
    s->stream.size -= gone;
    s->start += gone;
}

enum rc control_session_read(struct control_session *s, uint64_t off, size_t size, struct buf *out,
                             struct err *e)
{
    LOCK_SCOPE(&s->lock);
    add_progress_locked(s, off);
    if (off < s->start)
        return err_refused(e, EIO, "what was there is not kept");
    if (off >= s->start + s->stream.size)
        return RC_OK;
    drop_read_locked(s, off);
    const size_t at = (size_t)(off - s->start);
    const size_t got = size < s->stream.size - at ? size : s->stream.size - at;
    return buf_add(out, s->stream.data + at, got, e);
}

void control_session_flush(struct control_session *s)
{
    LOCK_SCOPE(&s->lock);
    if (s->is_running && !s->is_background)
        atomic_store(&s->watch.is_cancelled, true);
}

void control_session_close(struct control_session **session)
{
    struct control_session *s = *session;
    if (!s)
        return;
    *session = NULL;
    control_session_flush(s);
    unref(s);
}

/* ---- the whole ---- */

enum rc control_open(struct control **out, const struct control_context *context, struct err *e)
{
    const struct pool_options options = {
        .name = "control", .max_threads = WORKERS, .max_queued = QUEUED};
    struct control *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "could not allocate .control");
    c->context = *context;
    lock_init(&c->lock, LOCK_MOUNT_TALKS);
    if (pool_open(&c->pool, &options, e)) {
        lock_deinit(&c->lock);
        free(c);
        return e->code;
    }
    *out = c;
    return RC_OK;
}

static void cancel_all(struct control *c)
{
    LOCK_SCOPE(&c->lock);
    for (struct control_session *s = c->sessions; s; s = s->next)
        atomic_store(&s->watch.is_cancelled, true);
}

void control_close(struct control **control)
{
    struct control *c = *control;
    if (!c)
        return;
    *control = NULL;
    cancel_all(c);
    pool_close(&c->pool);
    lock_deinit(&c->lock);
    free(c);
}
