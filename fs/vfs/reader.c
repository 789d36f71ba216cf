#include "fs/vfs/reader.h"

#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/meta/copy.h"
#include "fs/vfs/chore.h"
#include "fs/vfs/inode.h"

enum {
    READ_PATIENCE_MS = 30000, /* of one read through all tries of all stores */
    VIEWS_AT_ONCE = 16,       /* what meta_slices() answers at most */
    SEEK_CHUNKS_MAX = 1024 * VIEWS_AT_ONCE,
};

/* ---- views ---- */

static uint32_t last_chunk_locked(const struct inode *in)
{
    const uint64_t length = inode_length_locked(in);
    return length ? (uint32_t)((length - 1) / META_CHUNK_BYTES) : 0;
}

/* How many views to ask for: those ahead that the file has, in one exchange. */
static uint32_t batch_locked(const struct inode *in, uint32_t indx, uint32_t ahead)
{
    const uint32_t last = last_chunk_locked(in);
    const uint32_t left = last > indx ? last - indx : 0;
    uint32_t count = 1 + (ahead < left ? ahead : left);
    return count < VIEWS_AT_ONCE ? count : VIEWS_AT_ONCE;
}

static enum rc fetch_views(struct inode *in, uint32_t indx, uint32_t count, uint64_t epoch,
                           struct chunk_view **out, struct err *e)
{
    struct chunk_view *views[VIEWS_AT_ONCE] = {NULL};

    enum rc rc = meta_slices(in->vfs->meta, in->ino, indx, count, views, e);
    if (rc)
        return err_note(e, "could not read the slices of inode %llu", (unsigned long long)in->ino);
    lock_take(&in->lock);
    /* What was committed meanwhile is not in these views: use them once, do not keep them. */
    for (uint32_t i = 0; i < count && in->epoch == epoch; i++)
        views_put(&in->views, indx + i, views[i]);
    lock_drop(&in->lock);
    *out = views[0];
    for (uint32_t i = 1; i < count; i++)
        chunk_view_unref(&views[i]);
    return RC_OK;
}

/*
 * The view of a chunk: at hand, or fetched, with up to ahead following ones. *out is a reference
 * for the caller; NULL: a hole.
 */
static enum rc get_view(struct inode *in, uint32_t indx, uint32_t ahead, struct chunk_view **out,
                        struct err *e)
{
    lock_take(&in->lock);
    const bool is_known = views_find(&in->views, indx, out);
    const uint64_t epoch = in->epoch;
    const uint32_t count = batch_locked(in, indx, ahead);
    lock_drop(&in->lock);
    return is_known ? RC_OK : fetch_views(in, indx, count, epoch, out, e);
}

static void forget_view(struct inode *in, uint32_t indx)
{
    LOCK_SCOPE(&in->lock);
    views_drop(&in->views, indx);
}

/* ---- extents ---- */

/* The first extent that ends after pos; extent_count when there is none. */
static uint32_t extent_at(const struct chunk_view *view, uint32_t pos)
{
    uint32_t low = 0, high = view->extent_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct extent *x = &view->extents[middle];
        if (x->pos + x->len <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A part of one block. */
struct part {
    struct block_id block;
    struct block_sums sums;
    uint32_t off, len; /* in the block */
    uint32_t at;       /* in what was asked for */
};

typedef enum rc (*visit_part)(const struct part *part, void *arg, struct err *e);

static enum rc walk_extent(const struct vfs *vfs, const struct chunk_view *view,
                           const struct extent *x, uint32_t from, uint32_t to, uint32_t at,
                           visit_part visit, void *arg, struct err *e)
{
    const struct slice_sums *sums = chunk_view_sums(view, x->id);
    enum rc rc = RC_OK;
    for (uint32_t pos = from; !rc && pos < to;) {
        const uint32_t in_slice = x->off + (pos - x->pos);
        const uint32_t indx = in_slice / vfs->block_bytes, off = in_slice % vfs->block_bytes;
        const uint32_t room = vfs->block_bytes - off, left = to - pos;
        const struct part part = {
            .block = {x->id, indx, block_size(x->size, vfs->block_bytes, indx)},
            .sums = volume_block_sums(vfs->volume, sums, indx),
            .off = off,
            .len = left < room ? left : room,
            .at = at + (pos - from),
        };
        rc = visit(&part, arg, e);
        pos += part.len;
    }
    return rc;
}

/* Visit the blocks under [pos, pos+len) of a chunk, in order; holes are passed over. */
static enum rc walk_chunk(const struct vfs *vfs, const struct chunk_view *view, uint32_t pos,
                          uint32_t len, visit_part visit, void *arg, struct err *e)
{
    const uint32_t end = pos + len;
    enum rc rc = RC_OK;
    for (uint32_t i = view ? extent_at(view, pos) : 0; !rc && view && i < view->extent_count; i++) {
        const struct extent *x = &view->extents[i];
        if (x->pos >= end)
            break;
        const uint32_t from = x->pos > pos ? x->pos : pos;
        const uint32_t to = x->pos + x->len < end ? x->pos + x->len : end;
        if (x->id != 0)
            rc = walk_extent(vfs, view, x, from, to, from - pos, visit, arg, e);
    }
    return rc;
}

/* ---- copying ---- */

struct copying {
    struct block_cache *cache;
    uint8_t *out;
    uint32_t done; /* bytes of out that are filled */
    uint64_t deadline_ms;
};

static void fill_hole(struct copying *c, uint32_t until)
{
    memset(c->out + c->done, 0, until - c->done);
    c->done = until;
}

static enum rc copy_part(const struct part *part, void *arg, struct err *e)
{
    struct copying *c = arg;
    fill_hole(c, part->at);
    enum rc rc = block_cache_read(c->cache, part->block, part->sums, part->off, part->len,
                                  c->out + part->at, c->deadline_ms, e);
    c->done = part->at + part->len;
    return rc;
}

static enum rc prefetch_part(const struct part *part, void *arg, struct err *e)
{
    struct vfs *vfs = arg;
    (void)e;
    block_cache_prefetch(vfs->cache, part->block, part->sums);
    return RC_OK;
}

static enum rc prefetch_second(const struct part *part, void *arg, struct err *e)
{
    return part->at == 0 ? RC_OK : prefetch_part(part, arg, e);
}

static enum rc copy_once(struct inode *in, uint32_t indx, uint32_t pos, uint32_t len, uint8_t *out,
                         uint64_t deadline_ms, struct err *e)
{
    struct chunk_view *view = NULL;
    struct copying copying = {in->vfs->cache, out, 0, deadline_ms};

    enum rc rc = get_view(in, indx, VIEWS_AT_ONCE, &view, e);
    if (rc)
        return rc;
    /* A read over several blocks waits for the slowest of them, not for one after the other. */
    (void)!walk_chunk(in->vfs, view, pos, len, prefetch_second, in->vfs, e);
    rc = walk_chunk(in->vfs, view, pos, len, copy_part, &copying, e);
    if (!rc)
        fill_hole(&copying, len);
    chore_read(in, view);
    chunk_view_unref(&view);
    return rc;
}

/*
 * A missing block may mean that the slices were compacted since we looked: look again, once. If
 * it is still missing, that is an I/O error, and not "no such file".
 */
static enum rc copy_chunk(struct inode *in, uint32_t indx, uint32_t pos, uint32_t len, uint8_t *out,
                          uint64_t deadline_ms, struct err *e)
{
    enum rc rc = copy_once(in, indx, pos, len, out, deadline_ms, e);
    if (rc == RC_NOT_FOUND) {
        forget_view(in, indx);
        rc = copy_once(in, indx, pos, len, out, deadline_ms, e);
    }
    if (!rc)
        return RC_OK;
    if (rc == RC_NOT_FOUND)
        e->code = RC_IO;
    (void)err_note(e, "could not read %u bytes at %llu of inode %llu", len,
                   (unsigned long long)indx * META_CHUNK_BYTES + pos, (unsigned long long)in->ino);
    log_err(LOG_LEVEL_ERROR, e, "a read failed");
    return e->code;
}

enum rc reader_copy(struct inode *in, uint64_t off, uint64_t size, uint8_t *out, struct err *e)
{
    const uint64_t deadline = clock_deadline(READ_PATIENCE_MS);
    enum rc rc = RC_OK;
    while (!rc && size) {
        const uint32_t pos = (uint32_t)(off % META_CHUNK_BYTES);
        const uint64_t room = META_CHUNK_BYTES - pos;
        const uint32_t n = (uint32_t)(size < room ? size : room);
        rc = copy_chunk(in, (uint32_t)(off / META_CHUNK_BYTES), pos, n, out, deadline, e);
        off += n;
        out += n;
        size -= n;
    }
    return rc;
}

static uint64_t length_of(struct inode *in)
{
    LOCK_SCOPE(&in->lock);
    return inode_length_locked(in);
}

void reader_prefetch(struct inode *in, uint64_t from, uint64_t to)
{
    const uint64_t length = length_of(in);
    struct err ignored = ERR_INIT; /* the read itself will meet it again, and report it */
    for (to = to < length ? to : length; from < to;) {
        const uint32_t pos = (uint32_t)(from % META_CHUNK_BYTES);
        const uint64_t room = META_CHUNK_BYTES - pos, left = to - from;
        const uint32_t n = (uint32_t)(left < room ? left : room);
        struct chunk_view *view = NULL;
        if (get_view(in, (uint32_t)(from / META_CHUNK_BYTES), VIEWS_AT_ONCE, &view, &ignored))
            return;
        (void)!walk_chunk(in->vfs, view, pos, n, prefetch_part, in->vfs, &ignored);
        chunk_view_unref(&view);
        from += n;
    }
}

/* ---- SEEK_DATA, SEEK_HOLE ---- */

/* The same within one chunk; META_CHUNK_BYTES when there is none in it. */
static uint32_t seek_in_view(const struct chunk_view *view, uint32_t pos, bool wants_data)
{
    for (uint32_t i = view ? extent_at(view, pos) : 0; view && i < view->extent_count; i++) {
        const struct extent *x = &view->extents[i];
        if ((x->id != 0) == wants_data)
            return x->pos > pos ? x->pos : pos;
    }
    if (wants_data)
        return (uint32_t)META_CHUNK_BYTES;
    const uint32_t covered = view ? view->covered : 0;
    return covered > pos ? covered : pos;
}

/* The start of the next chunk to look at; data is never in one without records. */
static enum rc next_start(struct inode *in, uint64_t start, bool skips_holes, uint64_t end,
                          uint64_t *out, struct err *e)
{
    uint64_t indx = start / META_CHUNK_BYTES + 1;
    enum rc rc = skips_holes ? meta_next_chunk(in->vfs->meta, in->ino, indx, &indx, e) : RC_OK;
    if (!rc)
        *out = indx <= end / META_CHUNK_BYTES ? indx * META_CHUNK_BYTES : end;
    return rc;
}

enum rc reader_seek(struct inode *in, uint64_t off, uint64_t end, bool wants_data, uint64_t *out,
                    struct err *e)
{
    for (uint32_t n = 0; off < end; n++) {
        struct chunk_view *view = NULL;
        const uint64_t start = off - off % META_CHUNK_BYTES;
        if (n == SEEK_CHUNKS_MAX) {
            /* Terabytes of data, or of holes that were punched: to call the rest data is allowed,
             * and bounded. */
            *out = wants_data ? off : end;
            return RC_OK;
        }
        enum rc rc = get_view(in, (uint32_t)(start / META_CHUNK_BYTES), VIEWS_AT_ONCE, &view, e);
        if (rc)
            return rc;
        const bool is_hole = !view;
        const uint32_t found = seek_in_view(view, (uint32_t)(off - start), wants_data);
        chunk_view_unref(&view);
        if (found < META_CHUNK_BYTES) {
            *out = start + found < end ? start + found : end;
            return RC_OK;
        }
        rc = next_start(in, start, is_hole && wants_data, end, &off, e);
        if (rc)
            return rc;
    }
    *out = end;
    return RC_OK;
}
