#include "fs/vfs/commit.h"

#include <errno.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/vfs/chore.h"
#include "fs/vfs/inode.h"

enum {
    COMMIT_MAX = 512,
    /* A stock gc removes blocks without metadata after an hour. */
    COMMIT_WITHIN_MS = 50 * 60 * 1000,
};

METRIC_DEFINE(metric_commits, METRIC_COUNTER, "tarn_slice_commits_total", NULL, "slices committed")
METRIC_DEFINE(metric_lost, METRIC_COUNTER, "tarn_slices_lost_total", NULL,
              "slices that were written and could not be committed")

/* ---- the list ---- */

static void find_end_locked(struct inode *in)
{
    in->writer.end = 0;
    for (const struct write_slice *s = in->writer.first; s; s = s->next) {
        const uint64_t end = s->indx * META_CHUNK_BYTES + s->pos + s->size;
        if (end > in->writer.end)
            in->writer.end = end;
    }
    if (!in->writer.first)
        in->writer.kill_suid = false;
}

static void unlink_locked(struct inode *in, struct write_slice *s)
{
    struct writer *w = &in->writer;
    *(s->prev ? &s->prev->next : &w->first) = s->next;
    *(s->next ? &s->next->prev : &w->last) = s->prev;
    w->count--;
}

void commit_remove_locked(struct inode *in, struct write_slice *s)
{
    unlink_locked(in, s);
    slice_free(s, in->vfs->memory);
    find_end_locked(in);
}

/* ---- the request ---- */

struct request {
    struct meta_written slices[COMMIT_MAX];
    size_t count;
    uint32_t *sums;
};

static void request_free(struct request **request)
{
    if (!*request)
        return;
    free((*request)->sums);
    free(*request);
}

static size_t sums_of(const struct vfs *vfs, uint32_t bytes)
{
    const uint32_t per_sum = meta_sum_bytes(vfs->block_bytes);
    return (bytes + per_sum - 1) / per_sum;
}

/* All blocks but the last are whole, and a block is a whole number of sums: just join them. */
static void join_sums(const struct vfs *vfs, const struct write_slice *s, uint32_t *out)
{
    for (uint32_t i = 0; i < s->block_count; i++) {
        const size_t count = sums_of(vfs, s->blocks[i]->used);
        memcpy(out, s->blocks[i]->sums, count * sizeof(*out));
        out += count;
    }
}

/* A commit whose answer is missing is repeated as it was, or it could be done twice. */
static size_t count_locked(const struct inode *in, uint64_t until_seq)
{
    size_t count = 0;
    if (in->writer.doubt.is_uncertain)
        return in->writer.doubted_count;
    for (const struct write_slice *s = in->writer.first;
         s && s->seq <= until_seq && count < COMMIT_MAX; s = s->next)
        count++;
    return count;
}

static enum rc compose_locked(const struct inode *in, uint64_t until_seq, struct request **out,
                              struct err *e)
{
    __attribute__((cleanup(request_free))) struct request *r = calloc(1, sizeof(*r));
    const size_t wanted = count_locked(in, until_seq);
    size_t sums = 0;

    const struct write_slice *s = in->writer.first;
    for (size_t n = 0; n < wanted; s = s->next, n++)
        sums += sums_of(in->vfs, s->size);
    if (r)
        r->sums = calloc(sums, sizeof(*r->sums));
    if (!r || !r->sums)
        return err_fail(e, RC_NO_SPACE, "could not allocate a commit of %zu sums", sums);

    uint32_t *at = r->sums;
    s = in->writer.first;
    for (; r->count < wanted; s = s->next) {
        const uint32_t count = (uint32_t)sums_of(in->vfs, s->size);
        join_sums(in->vfs, s, at);
        r->slices[r->count++] = (struct meta_written){.indx = s->indx,
                                                      .pos = s->pos,
                                                      .size = s->size,
                                                      .id = s->id,
                                                      .sums = at,
                                                      .sums_count = count};
        at += count;
    }
    *out = take_pointer(&r);
    return RC_OK;
}

/* ---- the outcome ---- */

static void accept_locked(struct inode *in, size_t count, const struct node_attr *attr)
{
    metric_add(&metric_commits, (int64_t)count);
    while (count--) {
        struct write_slice *s = in->writer.first;
        unlink_locked(in, s);
        slice_free(s, in->vfs->memory);
    }
    find_end_locked(in);
    inode_changed_locked(in, attr);
    free(in->writer.trouble);
    in->writer.trouble = NULL;
}

enum rc commit_report_lost_locked(const struct inode *in, struct err *e)
{
    return err_refused(e, ESTALE, "what was written to inode %llu was lost: %s",
                       (unsigned long long)in->ino, in->writer.lost);
}

void commit_drop_lost_locked(struct inode *in)
{
    struct write_slice *next = NULL;
    for (struct write_slice *s = in->writer.first; s && !in->writer.is_committing; s = next) {
        next = s->next;
        if (s->queued == 0)
            commit_remove_locked(in, s);
    }
}

/* Nothing of what is pending can ever be committed: say so until the last close. */
static enum rc lose_locked(struct inode *in, const char *why, struct err *e)
{
    metric_add(&metric_lost, in->writer.count);
    in->writer.lost = why;
    in->wants_notice = true;
    in->epoch++;
    views_clear(&in->views);
    commit_drop_lost_locked(in);
    enum rc rc = commit_report_lost_locked(in, e);
    if (!in->is_orphan)
        log_err(LOG_LEVEL_ERROR, e, "a write was lost");
    return rc;
}

static const char session_ended[] = "the session of this mount had ended";

void commit_fence_locked(struct inode *in)
{
    struct err e = ERR_INIT; /* said by lose_locked(), and to whoever asks next */
    if (in->writer.first && !in->writer.lost)
        (void)!lose_locked(in, session_ended, &e);
}

/* Why a refusal is for good, or NULL when asking again may help. */
static const char *final_reason(const struct err *e)
{
    if (e->code == RC_STALE || (e->code == RC_REFUSED && e->posix == ESTALE))
        return session_ended;
    if (e->code == RC_REFUSED && e->posix == ENOENT)
        return "the file was removed elsewhere";
    return NULL;
}

static bool is_too_late_locked(const struct inode *in, uint64_t until_seq)
{
    const uint64_t now = clock_ms();
    for (const struct write_slice *s = in->writer.first; s && s->seq <= until_seq; s = s->next) {
        if (s->uploaded_ms && now - s->uploaded_ms > COMMIT_WITHIN_MS)
            return true;
    }
    return false;
}

enum rc commit_locked(struct inode *in, uint64_t until_seq, struct err *e)
{
    __attribute__((cleanup(request_free))) struct request *request = NULL;
    struct node_attr attr = {0};

    if (is_too_late_locked(in, until_seq))
        return lose_locked(in, "its blocks were stored too long ago to be committed", e);
    enum rc rc = compose_locked(in, until_seq, &request, e);
    if (rc)
        return rc;
    const struct timespec written = in->writer.written;
    const bool kill_suid = in->writer.kill_suid;
    in->writer.is_committing = true;
    lock_drop(&in->lock);
    rc = meta_write(in->vfs->meta, in->ino, request->slices, request->count, written, kill_suid,
                    &in->writer.doubt, &attr, e);
    if (!rc)
        chore_written(in->vfs, in->ino, request->slices, request->count);
    lock_take(&in->lock);
    in->writer.doubted_count = request->count;
    in->writer.is_committing = false;
    lock_broadcast(&in->changed);
    if (in->writer.lost) { /* the session ended meanwhile */
        commit_drop_lost_locked(in);
        return commit_report_lost_locked(in, e);
    }
    if (!rc)
        accept_locked(in, request->count, &attr);
    else if (final_reason(e))
        rc = lose_locked(in, final_reason(e), e);
    else
        rc = err_note(e, "could not commit what was written to inode %llu",
                      (unsigned long long)in->ino);
    return rc;
}
