/*
 * The records of files: whether they can be read, and whose they are; and what a slice's reference
 * count should be.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/wire.h"
#include "fs/meta/slice.h"
#include "fs/upkeep/census.h"
#include "fs/upkeep/fsck_impl.h"

#define WINDOW ((size_t)2 << 20) /* counts that are compared in one walk over all chunks */
#define PAGE   10000
#define DOUBTS 5000 /* counts that are looked at again together */

/* -------------------------------------------------------------------------------------- records */

static void tell_chunk(struct fsck *f, const char *kind, ino_num ino, const char *text)
{
    fsck_tell(f, &(struct fsck_problem){.kind = kind, .ino = ino, .text = text});
}

struct stray {
    const struct ledger_chunk *chunk;
    bool is_stray;
};

static enum rc on_stray(const struct ledger_chunk *chunk, void *arg, struct err *e)
{
    struct stray *s = arg;
    (void)e;
    if (chunk->id == s->chunk->id)
        s->is_stray = !chunk->has_node && !chunk->is_deleted;
    return RC_OK;
}

/* Look again: a file may have been made or deleted between two pages. */
static enum rc check_owner(struct fsck *f, const struct ledger_chunk *chunk, struct err *e)
{
    if (chunk->has_node || chunk->is_deleted)
        return RC_OK;
    struct stray s = {.chunk = chunk};
    const int64_t ino = (int64_t)chunk->ino;
    int64_t after = chunk->id - 1;
    bool is_end;
    if (ledger_chunks(f->meta, &ino, 1, &after, &is_end, on_stray, &s, e))
        return e->code;
    char text[ERR_TEXT_BYTES];
    (void)snprintf(text, sizeof(text), "chunk %" PRId32 " belongs to no inode", chunk->indx);
    if (s.is_stray)
        tell_chunk(f, "stray chunk", chunk->ino, text);
    return RC_OK;
}

static enum rc check_chunk(const struct ledger_chunk *chunk, void *arg, struct err *e)
{
    struct fsck *f = arg;
    struct err wrong = ERR_INIT;
    struct chunk_view *view = NULL;
    const struct bytes no_sums = {NULL, 0};
    if (chunk->indx < 0)
        err_fail(&wrong, RC_CORRUPT, "a chunk has the number %" PRId32, chunk->indx);
    else if (chunk_view_new((uint32_t)chunk->indx, chunk->records, no_sums, &view, &wrong) ==
             RC_NO_SPACE)
        return err_fail(e, RC_NO_SPACE, "%s", wrong.text);
    chunk_view_unref(&view);
    if (wrong.code)
        tell_chunk(f, "malformed chunk", chunk->ino, wrong.text);
    return check_owner(f, chunk, e);
}

enum rc fsck_chunks(struct fsck *f, const int64_t *only, size_t count, struct err *e)
{
    if (only && count == 0)
        return RC_OK;
    bool is_end = false;
    for (int64_t after = 0; !is_end;)
        if (ledger_chunks(f->meta, only, count, &after, &is_end, check_chunk, f, e))
            return err_note(e, "could not read every chunk");
    return RC_OK;
}

/* --------------------------------------------------------------------------------------- counts */

struct window {
    struct fsck *f;
    int64_t *ids;
    int32_t *refs;
    uint32_t *named;
    size_t count;
    int64_t doubts[DOUBTS];
    size_t doubt_count;
};

static void window_deinit(struct window **window)
{
    struct window *w = *window;
    if (!w)
        return;
    free(w->ids);
    free(w->refs);
    free(w->named);
    free(w);
}
#define auto_window __attribute__((cleanup(window_deinit)))

static enum rc window_new(struct window **out, struct fsck *f, struct err *e)
{
    struct window *w = calloc(1, sizeof(*w));
    *out = w;
    if (!w)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    w->f = f;
    w->ids = calloc(WINDOW, sizeof(*w->ids));
    w->refs = calloc(WINDOW, sizeof(*w->refs));
    w->named = calloc(WINDOW, sizeof(*w->named));
    return w->ids && w->refs && w->named ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

/* What is wrong with a count, in words; false: nothing. */
static bool describe_count(const struct ledger_count *c, char text[ERR_TEXT_BYTES])
{
    if (!c->has_row && c->named > 0)
        (void)snprintf(text, ERR_TEXT_BYTES,
                       "slice %" PRIu64 " is named %" PRId64 " times and has no count", c->id,
                       c->named);
    else if (c->has_row && c->refs != c->named && (c->refs > 0 || c->named > 0))
        (void)snprintf(text, ERR_TEXT_BYTES,
                       "slice %" PRIu64 " is named %" PRId64 " times, its count says %" PRId64,
                       c->id, c->named, c->refs);
    else
        return false;
    return true;
}

static enum rc tell_count(const struct ledger_count *c, void *arg, struct err *e)
{
    struct fsck *f = arg;
    char text[ERR_TEXT_BYTES];
    struct fsck_problem problem = {
        .kind = "refs", .slice = c->id, .have = c->refs, .want = c->named, .text = text};
    if (describe_count(c, text)) {
        const int64_t id = (int64_t)c->id;
        if (f->options->repairs && ledger_repair_refs(f->meta, &id, 1, &problem.is_repaired, e))
            return e->code;
        fsck_tell(f, &problem);
    }
    if (c->has_row && c->named > 0 && c->size != c->named_size) {
        (void)snprintf(text, sizeof(text),
                       "slice %" PRIu64 " has %" PRIu32 " bytes by its records, %" PRIu32
                       " by its count",
                       c->id, c->named_size, c->size);
        fsck_tell(f, &(struct fsck_problem){.kind = "slice size",
                                            .slice = c->id,
                                            .have = c->size,
                                            .want = c->named_size,
                                            .text = text});
    }
    return RC_OK;
}

/* The exact count, each row and its records in one snapshot. */
static enum rc settle_doubts(struct window *w, struct err *e)
{
    const size_t count = w->doubt_count;
    w->doubt_count = 0;
    return count ? ledger_count_refs(w->f->meta, w->doubts, count, tell_count, w->f, e) : RC_OK;
}

static enum rc doubt(uint64_t id, void *arg, struct err *e)
{
    struct window *w = arg;
    if (w->doubt_count > 0 && w->doubts[w->doubt_count - 1] == (int64_t)id)
        return RC_OK;
    w->doubts[w->doubt_count++] = (int64_t)id;
    return w->doubt_count == DOUBTS ? settle_doubts(w, e) : RC_OK;
}

static enum rc compare_window(struct window *w, uint64_t first, uint64_t last, struct err *e)
{
    memset(w->named, 0, WINDOW * sizeof(*w->named));
    const struct census census = {.ids = w->ids,
                                  .named = w->named,
                                  .count = w->count,
                                  .stranger = doubt,
                                  .arg = w,
                                  .first = first,
                                  .last = last};
    if (census_walk(&census, w->f->meta, e))
        return e->code;
    for (size_t i = 0; i < w->count; i++) {
        const bool is_same = w->refs[i] == (int64_t)w->named[i];
        if (!is_same && (w->refs[i] > 0 || w->named[i] > 0) && doubt((uint64_t)w->ids[i], w, e))
            return e->code;
    }
    return settle_doubts(w, e);
}

static enum rc on_slice(const struct ledger_slice *slice, void *arg, struct err *e)
{
    struct window *w = arg;
    (void)e;
    w->ids[w->count] = (int64_t)slice->id;
    w->refs[w->count] = slice->refs;
    w->count++;
    return RC_OK;
}

/* Rows behind `after` until the window is full; *is_end: there are no more. */
static enum rc fill_window(struct window *w, uint64_t after, bool *is_end, struct err *e)
{
    w->count = 0;
    *is_end = false;
    while (!*is_end && w->count + PAGE <= WINDOW) {
        const struct ledger_range range = {w->count ? (uint64_t)w->ids[w->count - 1] : after,
                                           INT64_MAX, PAGE, false};
        uint32_t read = 0;
        if (ledger_slices(w->f->meta, &range, on_slice, w, &read, e))
            return e->code;
        *is_end = read < PAGE;
    }
    return RC_OK;
}

enum rc fsck_refs(struct fsck *f, struct err *e)
{
    auto_window struct window *w = NULL;
    if (window_new(&w, f, e))
        return e->code;
    bool is_end = false;
    for (uint64_t after = 0; !is_end;) {
        if (fill_window(w, after, &is_end, e))
            return e->code;
        /* The windows lie without a gap between them, so that a stranger falls into one of them. */
        const uint64_t last = is_end ? INT64_MAX : (uint64_t)w->ids[w->count - 1];
        if (compare_window(w, after + 1, last, e))
            return err_note(e, "could not count references");
        after = last;
    }
    return RC_OK;
}

/* --------------------------------------------------------------------------------- broken files */

struct broken {
    struct fsck *f;
    int64_t *told; /* ascending */
    size_t count, room;
};

static int compare_lost(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool names_a_lost_slice(const struct fsck *f, const struct ledger_chunk *chunk)
{
    for (size_t at = 0; at + 24 <= chunk->records.size; at += 24) {
        const int64_t id = (int64_t)wire_u64(chunk->records.data + at + 4);
        if (bsearch(&id, f->lost, f->lost_count, sizeof(id), compare_lost))
            return true;
    }
    return false;
}

static bool is_told(const struct broken *b, ino_num ino)
{
    const size_t at = census_place(b->told, b->count, ino);
    return at < b->count && (ino_num)b->told[at] == ino;
}

static enum rc note_told(struct broken *b, ino_num ino, struct err *e)
{
    if (array_reserve(&b->told, &b->room, b->count + 1, sizeof(*b->told), e))
        return e->code;
    const size_t at = census_place(b->told, b->count, ino);
    memmove(b->told + at + 1, b->told + at, (b->count - at) * sizeof(*b->told));
    b->told[at] = (int64_t)ino;
    b->count++;
    return RC_OK;
}

static enum rc on_broken(const struct ledger_chunk *chunk, void *arg, struct err *e)
{
    struct broken *b = arg;
    if (!chunk->has_node || !names_a_lost_slice(b->f, chunk) || is_told(b, chunk->ino))
        return RC_OK;
    b->f->report->broken_files++;
    tell_chunk(b->f, "broken file", chunk->ino, "has blocks that are lost or bad");
    return note_told(b, chunk->ino, e);
}

enum rc fsck_broken_files(struct fsck *f, struct err *e)
{
    if (f->lost_count == 0)
        return RC_OK;
    qsort(f->lost, f->lost_count, sizeof(*f->lost), compare_lost);
    struct broken b = {.f = f};
    bool is_end = false;
    enum rc rc = RC_OK;
    for (int64_t after = 0; !is_end && rc == RC_OK;)
        rc = ledger_chunks(f->meta, NULL, 0, &after, &is_end, on_broken, &b, e);
    free(b.told);
    return rc;
}
