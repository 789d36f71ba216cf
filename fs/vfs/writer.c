#include "fs/vfs/writer.h"

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/vfs/commit.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/slice_buffer.h"
#include "fs/vfs/tend.h"
#include "fs/vfs/upload.h"

enum {
    SLICES_SEARCHED = 64,      /* from the newest, for one that can take a write */
    SLICES_OF_CHUNK = 3,       /* the same, of the chunk in question */
    SLICES_PENDING_MAX = 2000, /* then the writer flushes by itself */
    SLICE_AGE_MS = 5000,
    RETRY_AFTER_MS = 5000,
    BUFFER_PATIENCE_MS = 600000,
    BUFFER_LOOK_MS = 500,
};

/* ---- errors ---- */

static enum rc report_trouble_locked(const struct inode *in, struct err *e)
{
    if (!in->writer.trouble)
        return err_fail(e, RC_IO, "could not store blocks of inode %llu",
                        (unsigned long long)in->ino);
    *e = *in->writer.trouble;
    return err_note(e, "could not store what was written to inode %llu",
                    (unsigned long long)in->ino);
}

/* ---- taking data in ---- */

/*
 * The slice that may take this write, searching from the newest: one that overlaps the write and
 * cannot take it ends the search, since an older slice would lie below it.
 */
static struct write_slice *find_slice_locked(struct inode *in, uint32_t indx, uint32_t pos,
                                             uint32_t size)
{
    int searched = 0, of_chunk = 0;
    for (struct write_slice *s = in->writer.last; s; s = s->prev) {
        if (++searched > SLICES_SEARCHED)
            return NULL;
        if (s->indx != indx)
            continue;
        if (slice_accepts(s, in->vfs->block_bytes, pos))
            return s;
        if (slice_overlaps(s, indx, pos, size) || ++of_chunk == SLICES_OF_CHUNK)
            return NULL;
    }
    return NULL;
}

static struct write_slice *add_slice_locked(struct inode *in, uint32_t indx, uint32_t pos)
{
    struct writer *w = &in->writer;
    struct write_slice *s = slice_new(in, w->spare_id, indx, pos);
    if (!s)
        return NULL;
    w->spare_id = 0;
    s->seq = w->next_seq++;
    s->prev = w->last;
    if (w->last)
        w->last->next = s;
    else
        w->first = s;
    w->last = s;
    w->count++;
    return s;
}

static void note_written_locked(struct inode *in, const struct vfs_caller *who, uint64_t end)
{
    in->writer.written = clock_wall();
    in->writer.kill_suid |= who->uid != 0;
    in->has_stamp = false;
    recent_inode(in->vfs->recent, in->ino);
    if (end > in->writer.end)
        in->writer.end = end;
}

/* One piece of a write, all in one chunk. RC_NOT_FOUND: a slice id is needed first. */
static enum rc put_piece_locked(struct inode *in, const struct vfs_caller *who, uint64_t off,
                                struct bytes data, struct write_batch *batch, struct err *e)
{
    const uint32_t indx = (uint32_t)(off / META_CHUNK_BYTES);
    const uint32_t pos = (uint32_t)(off % META_CHUNK_BYTES), size = (uint32_t)data.size;

    while (in->writer.pausers)
        (void)lock_wait(&in->changed, &in->lock, CLOCK_FOREVER_MS);
    if (in->writer.lost)
        return commit_report_lost_locked(in, e);
    struct write_slice *s = find_slice_locked(in, indx, pos, size);
    if (!s && !in->writer.spare_id)
        return RC_NOT_FOUND;
    if (!s)
        s = add_slice_locked(in, indx, pos);
    bool is_put =
        s && slice_fill(s, in->vfs->memory, in->vfs->block_bytes, pos, data.data, size, batch);
    upload_count_locked(in, batch);
    if (s && s->size == 0)
        commit_remove_locked(in, s);
    else
        note_written_locked(in, who, off + size);
    if (!is_put)
        return err_fail(e, RC_NO_SPACE, "could not allocate memory for a write to inode %llu",
                        (unsigned long long)in->ino);
    return RC_OK;
}

static enum rc fetch_spare_id(struct inode *in, struct err *e)
{
    uint64_t id = 0;
    enum rc rc = meta_new_slice_id(in->vfs->meta, &id, e);
    if (rc)
        return err_note(e, "could not get a slice id");
    LOCK_SCOPE(&in->lock);
    in->writer.spare_id = id;
    return RC_OK;
}

static enum rc put_piece(struct inode *in, const struct vfs_caller *who, uint64_t off,
                         struct bytes data, struct err *e)
{
    enum rc rc;
    do {
        struct write_batch batch = WRITE_BATCH_INIT(batch);
        lock_take(&in->lock);
        rc = put_piece_locked(in, who, off, data, &batch, e);
        lock_drop(&in->lock);
        upload_batch(in->vfs, &batch);
        if (rc != RC_NOT_FOUND)
            return rc;
        rc = fetch_spare_id(in, e);
    } while (!rc);
    return rc;
}

/* ---- back-pressure ---- */

static bool has_many_slices(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    return in->writer.count >= SLICES_PENDING_MAX;
}

/* Wait at the door while the buffers are full, seeing to it that they become empty. */
static enum rc wait_for_room(struct inode *in, struct err *e)
{
    struct vfs *vfs = in->vfs;
    const uint64_t deadline = clock_deadline(BUFFER_PATIENCE_MS);

    if (has_many_slices(in)) {
        enum rc rc = writer_flush(in, e);
        if (rc)
            return rc;
    }
    while (memory_is_over(vfs->memory)) {
        block_cache_trim(vfs->cache);
        if (atomic_load(&vfs->queued_uploads) == 0)
            tend_relieve(vfs);
        if (memory_wait(vfs->memory, clock_deadline(BUFFER_LOOK_MS)))
            break;
        if (clock_left(deadline) == 0)
            return err_fail(e, RC_TIMEOUT, "the write buffers were full for too long");
    }
    return RC_OK;
}

enum rc writer_write(struct inode *in, const struct vfs_caller *who, uint64_t off,
                     struct bytes data, struct err *e)
{
    enum rc rc = wait_for_room(in, e);
    while (!rc && data.size) {
        const uint64_t room = META_CHUNK_BYTES - off % META_CHUNK_BYTES;
        const size_t n = data.size < room ? data.size : (size_t)room;
        rc = put_piece(in, who, off, (struct bytes){data.data, n}, e);
        off += n;
        data.data += n;
        data.size -= n;
    }
    return rc;
}

/* ---- flushing ---- */

static void freeze_locked(struct inode *in, uint64_t until_seq, struct write_batch *batch)
{
    for (struct write_slice *s = in->writer.first; s && s->seq <= until_seq; s = s->next) {
        slice_freeze(s, batch);
        slice_retry(s, batch);
    }
    upload_count_locked(in, batch);
}

enum progress { PROGRESS_READY, PROGRESS_BUSY, PROGRESS_STALE, PROGRESS_FAILED };

/*
 * The first failure of an upload with a number above `since` is told, without waiting for the
 * other blocks: they are tried again by the background and by others who flush, so there may
 * always be one on its way. An older upload that fails late says nothing of the store as it is
 * now (PROGRESS_STALE): its block is due for another try.
 */
static enum progress look_locked(const struct inode *in, uint64_t until_seq, uint64_t since)
{
    bool is_busy = false, is_stale = false;
    for (const struct write_slice *s = in->writer.first; s && s->seq <= until_seq; s = s->next) {
        if (s->failure > since && s->stored < s->block_count)
            return PROGRESS_FAILED;
        is_stale |= s->failed != 0;
        is_busy |= s->queued != 0;
    }
    if (is_stale)
        return PROGRESS_STALE;
    return is_busy ? PROGRESS_BUSY : PROGRESS_READY;
}

static void retry_locked(struct inode *in, uint64_t until_seq)
{
    struct write_batch batch = WRITE_BATCH_INIT(batch);

    freeze_locked(in, until_seq, &batch);
    lock_drop(&in->lock);
    upload_batch(in->vfs, &batch);
    lock_take(&in->lock);
}

/* Wait for uploads and commits until nothing up to until_seq is pending. */
static enum rc settle_locked(struct inode *in, uint64_t until_seq, uint64_t since, struct err *e)
{
    while (!in->writer.lost && in->writer.first && in->writer.first->seq <= until_seq) {
        enum progress progress = look_locked(in, until_seq, since);
        if (progress == PROGRESS_FAILED)
            return report_trouble_locked(in, e);
        if (progress == PROGRESS_STALE) {
            retry_locked(in, until_seq);
            continue;
        }
        if (progress == PROGRESS_BUSY || in->writer.is_committing) {
            /* Bounded by the patience of the uploads and the commit that we wait for. */
            (void)lock_wait(&in->changed, &in->lock, CLOCK_FOREVER_MS);
            continue;
        }
        enum rc rc = commit_locked(in, until_seq, e);
        if (rc)
            return rc;
    }
    return in->writer.lost ? commit_report_lost_locked(in, e) : RC_OK;
}

enum rc writer_flush(struct inode *in, struct err *e)
{
    struct write_batch batch = WRITE_BATCH_INIT(batch);

    lock_take(&in->lock);
    const uint64_t until_seq = in->writer.last ? in->writer.last->seq : 0;
    const uint64_t since = in->writer.attempts;
    if (!in->writer.lost)
        freeze_locked(in, until_seq, &batch);
    lock_drop(&in->lock);
    upload_batch(in->vfs, &batch);

    LOCK_SCOPE(&in->lock);
    return settle_locked(in, until_seq, since, e);
}

static bool is_pending(struct inode *in, uint64_t off, uint64_t size)
{
    LOCK_SCOPE(&in->lock);
    for (const struct write_slice *s = in->writer.first; s; s = s->next) {
        const uint64_t from = s->indx * META_CHUNK_BYTES + s->pos;
        if (off < from + s->size && from < off + size)
            return true;
    }
    return false;
}

enum rc writer_flush_range(struct inode *in, uint64_t off, uint64_t size, struct err *e)
{
    return is_pending(in, off, size) ? writer_flush(in, e) : RC_OK;
}

enum rc writer_pause(struct inode *in, struct err *e)
{
    lock_take(&in->lock);
    in->writer.pausers++;
    lock_drop(&in->lock);
    enum rc rc = writer_flush(in, e);
    if (rc)
        writer_resume(in);
    return rc;
}

void writer_resume(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    in->writer.pausers--;
    lock_broadcast(&in->changed);
}

/* ---- the background ---- */

static bool is_due(const struct write_slice *s, uint64_t now)
{
    return now - s->born_ms >= SLICE_AGE_MS;
}

bool writer_tick(struct inode *in, bool takes_all)
{
    struct write_batch batch = WRITE_BATCH_INIT(batch);
    const uint64_t now = clock_ms();

    lock_take(&in->lock);
    for (struct write_slice *s = in->writer.first; s && !in->writer.lost; s = s->next) {
        if (takes_all || is_due(s, now))
            slice_freeze(s, &batch);
        if (s->failed && now - s->retried_ms >= RETRY_AFTER_MS)
            slice_retry(s, &batch);
    }
    upload_count_locked(in, &batch);
    bool has_ready = in->writer.first && slice_is_ready(in->writer.first) &&
                     !in->writer.is_committing && !in->writer.lost;
    lock_drop(&in->lock);
    upload_batch(in->vfs, &batch);
    return has_ready;
}

static uint64_t ready_until_locked(const struct inode *in)
{
    uint64_t until_seq = 0;
    for (const struct write_slice *s = in->writer.first; s && slice_is_ready(s); s = s->next)
        until_seq = s->seq;
    return until_seq;
}

enum rc writer_commit_ready(struct inode *in, struct err *e)
{
    LOCK_SCOPE(&in->lock);
    const uint64_t until_seq = ready_until_locked(in);
    if (until_seq == 0 || in->writer.is_committing || in->writer.lost)
        return RC_OK;
    return commit_locked(in, until_seq, e);
}

/* ---- the end ---- */

void writer_discard(struct inode *in)
{
    uint64_t bytes = 0;

    LOCK_SCOPE(&in->lock);
    while (in->writer.uploads || in->writer.is_committing)
        (void)lock_wait(&in->changed, &in->lock, CLOCK_FOREVER_MS);
    for (const struct write_slice *s = in->writer.first; s; s = s->next)
        bytes += s->size;
    if (bytes && !in->writer.lost && !in->is_orphan)
        log_error("lost %llu bytes written to inode %llu: they could not be stored",
                  (unsigned long long)bytes, (unsigned long long)in->ino);
    while (in->writer.first)
        commit_remove_locked(in, in->writer.first);
    meta_write_given_up(in->vfs->meta, &in->writer.doubt);
}
