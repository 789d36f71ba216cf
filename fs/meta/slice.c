/*
 * The overlay paints records over a chunk from the newest to the oldest. The borders of all records
 * cut the chunk into cells; a cell belongs to the first record that reaches it, and cells that are
 * painted are skipped by links that are shortened as they are followed. So n records cost
 * O(n log n) for sorting the borders, however they overlap.
 */
#include "fs/meta/slice.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/wire.h"

#define RECORD_BYTES 24
#define NOBODY       UINT32_MAX

struct view_box {
    struct chunk_view view; /* first: a view is its box */
    _Atomic unsigned references;
    struct extent *extents;
    struct slice_sums *sums;
    uint32_t *numbers; /* what sums[i].sums point into */
};

/* Cell i is [borders[i], borders[i + 1]). */
struct canvas {
    uint32_t *borders;
    uint32_t border_count;
    uint32_t *owner; /* record that painted the cell, NOBODY */
    uint32_t *next;  /* the cell itself while it is unpainted, else a later one */
};

void slice_record_put(uint8_t out[24], const struct slice_record *record)
{
    wire_put_u32(out, record->pos);
    wire_put_u64(out + 4, record->id);
    wire_put_u32(out + 12, record->size);
    wire_put_u32(out + 16, record->off);
    wire_put_u32(out + 20, record->len);
}

/* Holes made by copies carry a size and an offset, which mean nothing. */
static enum rc get_record(const uint8_t *at, struct slice_record *out, struct err *e)
{
    *out = (struct slice_record){.pos = wire_u32(at),
                                 .id = wire_u64(at + 4),
                                 .size = wire_u32(at + 12),
                                 .off = wire_u32(at + 16),
                                 .len = wire_u32(at + 20)};
    bool is_inside = (uint64_t)out->pos + out->len <= META_CHUNK_BYTES;
    bool is_whole = out->id == 0 || (out->size > 0 && out->size <= META_CHUNK_BYTES &&
                                     (uint64_t)out->off + out->len <= out->size);
    if (is_inside && is_whole)
        return RC_OK;
    return err_fail(e, RC_CORRUPT, "slice %llu: pos %u, size %u, off %u, len %u",
                    (unsigned long long)out->id, out->pos, out->size, out->off, out->len);
}

static enum rc get_records(struct bytes packed, struct slice_record **out, struct err *e)
{
    size_t n = packed.size / RECORD_BYTES;
    if (packed.size % RECORD_BYTES || n > UINT32_MAX / 4)
        return err_fail(e, RC_CORRUPT, "slice records of %zu bytes", packed.size);
    struct slice_record *records = calloc(n ? n : 1, sizeof(*records));
    if (!records)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (get_record(packed.data + i * RECORD_BYTES, &records[i], e)) {
            free(records);
            return e->code;
        }
    *out = records;
    return RC_OK;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void canvas_deinit(struct canvas *c)
{
    free(c->borders);
    free(c->owner);
    free(c->next);
}

/* Cut [0, end of the furthest record) at every border. */
static enum rc canvas_init(struct canvas *c, const struct slice_record *records, uint32_t n,
                           struct err *e)
{
    size_t most = 2 * (size_t)n + 1;
    *c = (struct canvas){.borders = calloc(most, sizeof(uint32_t)),
                         .owner = calloc(most, sizeof(uint32_t)),
                         .next = calloc(most, sizeof(uint32_t))};
    if (!c->borders || !c->owner || !c->next)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < n; i++) { /* borders[0] is 0 */
        c->borders[2 * (size_t)i + 1] = records[i].pos;
        c->borders[2 * (size_t)i + 2] = records[i].pos + records[i].len;
    }
    qsort(c->borders, most, sizeof(uint32_t), by_number);
    c->border_count = 1;
    for (size_t i = 1; i < most; i++)
        if (c->borders[i] != c->borders[c->border_count - 1])
            c->borders[c->border_count++] = c->borders[i];
    for (uint32_t i = 0; i < c->border_count; i++) {
        c->owner[i] = NOBODY;
        c->next[i] = i;
    }
    return RC_OK;
}

/* The first unpainted cell from here on; the last border stands for "none". */
static uint32_t unpainted_from(struct canvas *c, uint32_t cell)
{
    while (c->next[cell] != cell) {
        c->next[cell] = c->next[c->next[cell]];
        cell = c->next[cell];
    }
    return cell;
}

static uint32_t cell_at(const struct canvas *c, uint32_t pos)
{
    const uint32_t *found = bsearch(&pos, c->borders, c->border_count, sizeof(uint32_t), by_number);
    return (uint32_t)(found - c->borders); /* every pos of a record is a border */
}

static void paint(struct canvas *c, const struct slice_record *records, uint32_t n)
{
    for (uint32_t i = n; i-- > 0;) {
        if (records[i].len == 0)
            continue;
        uint32_t end = records[i].pos + records[i].len;
        uint32_t cell = unpainted_from(c, cell_at(c, records[i].pos));
        while (c->borders[cell] < end) {
            c->owner[cell] = i;
            c->next[cell] = cell + 1;
            cell = unpainted_from(c, cell + 1);
        }
    }
}

/* What a cell shows. */
static struct extent cell_extent(const struct canvas *c, uint32_t cell,
                                 const struct slice_record *records)
{
    struct extent x = {.pos = c->borders[cell], .len = c->borders[cell + 1] - c->borders[cell]};
    const struct slice_record *r = c->owner[cell] == NOBODY ? NULL : &records[c->owner[cell]];
    if (r && r->id) {
        x.id = r->id;
        x.size = r->size;
        x.off = r->off + (x.pos - r->pos);
    }
    return x;
}

/* Does b go on where a ends, in the file and in the slice? */
static bool continues(const struct extent *a, const struct extent *b)
{
    return a->id == b->id && a->size == b->size && (a->id == 0 || a->off + a->len == b->off);
}

static enum rc make_extents(const struct canvas *c, const struct slice_record *records,
                            struct view_box *box, struct err *e)
{
    uint32_t cells = c->border_count - 1, n = 0;
    struct extent *extents = calloc(cells ? cells : 1, sizeof(*extents));
    if (!extents)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < cells; i++) {
        struct extent x = cell_extent(c, i, records);
        if (n > 0 && continues(&extents[n - 1], &x))
            extents[n - 1].len += x.len;
        else
            extents[n++] = x;
    }
    struct extent *exact = realloc(extents, (n ? n : 1) * sizeof(*extents));
    box->extents = exact ? exact : extents;
    box->view.extents = box->extents;
    box->view.extent_count = n;
    box->view.covered = c->borders[cells];
    return RC_OK;
}

static enum rc overlay(struct bytes packed, struct view_box *box, struct err *e)
{
    auto_free struct slice_record *records = NULL;
    if (get_records(packed, &records, e))
        return e->code;
    uint32_t n = (uint32_t)(packed.size / RECORD_BYTES);
    struct canvas canvas;
    enum rc rc = canvas_init(&canvas, records, n, e);
    if (!rc) {
        paint(&canvas, records, n);
        rc = make_extents(&canvas, records, box, e);
    }
    canvas_deinit(&canvas);
    box->view.record_count = n;
    return rc;
}

/* One sum for each 256 KiB, or for each block of a volume with blocks of 64 or 128 KiB. */
static bool is_sum_count(uint32_t count, uint32_t size)
{
    for (uint32_t unit = 64 << 10; unit <= 256 << 10; unit *= 2)
        if (count == (size - 1) / unit + 1)
            return true;
    return false;
}

/* Walk the packed sums once to check and count them. */
static enum rc count_sums(struct bytes packed, uint32_t *slices, size_t *numbers, struct err *e)
{
    struct wire_reader r = wire_reader(packed);
    uint64_t last_id = 0;
    *slices = 0;
    *numbers = 0;
    while (r.left > 0) {
        uint64_t id = wire_read_u64(&r);
        uint32_t size = wire_read_u32(&r);
        uint32_t count = wire_read_u32(&r);
        bool is_good = !r.is_short && id > last_id && size > 0 && size <= META_CHUNK_BYTES &&
                       is_sum_count(count, size);
        if (is_good)
            (void)wire_read_bytes(&r, (size_t)count * 4);
        if (!is_good || r.is_short)
            return err_fail(e, RC_CORRUPT, "packed sums are malformed at slice %llu",
                            (unsigned long long)id);
        last_id = id;
        *slices += 1;
        *numbers += count;
    }
    return RC_OK;
}

static enum rc unpack_sums(struct bytes packed, struct view_box *box, struct err *e)
{
    uint32_t slices;
    size_t numbers;
    if (count_sums(packed, &slices, &numbers, e))
        return e->code;
    if (slices == 0)
        return RC_OK;
    box->sums = calloc(slices, sizeof(*box->sums));
    box->numbers = calloc(numbers, sizeof(*box->numbers));
    if (!box->sums || !box->numbers)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    struct wire_reader r = wire_reader(packed);
    uint32_t *at = box->numbers;
    for (uint32_t i = 0; i < slices; i++) {
        struct slice_sums *s = &box->sums[i];
        s->id = wire_read_u64(&r);
        s->size = wire_read_u32(&r);
        s->count = wire_read_u32(&r);
        s->sums = at;
        for (uint32_t k = 0; k < s->count; k++)
            *at++ = wire_read_u32(&r);
    }
    box->view.sums = box->sums;
    box->view.sums_count = slices;
    return RC_OK;
}

enum rc chunk_view_new(uint32_t indx, struct bytes records, struct bytes sums,
                       struct chunk_view **out, struct err *e)
{
    struct view_box *box = calloc(1, sizeof(*box));
    if (!box)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    box->view.indx = indx;
    atomic_init(&box->references, 1);
    struct chunk_view *view = &box->view;
    if (overlay(records, box, e) || unpack_sums(sums, box, e)) {
        chunk_view_unref(&view);
        return err_note(e, "chunk %u", indx);
    }
    *out = view;
    return RC_OK;
}

struct chunk_view *chunk_view_ref(struct chunk_view *view)
{
    atomic_fetch_add_explicit(&((struct view_box *)view)->references, 1, memory_order_relaxed);
    return view;
}

void chunk_view_unref(struct chunk_view **view)
{
    struct view_box *box = (struct view_box *)*view;
    *view = NULL;
    if (!box || atomic_fetch_sub_explicit(&box->references, 1, memory_order_acq_rel) > 1)
        return;
    free(box->extents);
    free(box->sums);
    free(box->numbers);
    free(box);
}

static int by_slice_id(const void *key, const void *member)
{
    uint64_t id = *(const uint64_t *)key, other = ((const struct slice_sums *)member)->id;
    return (id > other) - (id < other);
}

const struct slice_sums *chunk_view_sums(const struct chunk_view *view, uint64_t id)
{
    if (view->sums_count == 0)
        return NULL;
    return bsearch(&id, view->sums, view->sums_count, sizeof(*view->sums), by_slice_id);
}
