/*
 * The model is a chunk of 256 cells of 256 KiB, each painted by one record or none: what a reader
 * sees. A plan is right when the chunk reads the same after it.
 */
#include "fs/upkeep/plan.h"

#include "fs/base/hash.h"
#include "fs/base/wire.h"
#include "tests/unit/check.h"

#define RECORD_BYTES 24
#define CELL_BYTES   ((uint32_t)256 << 10)
#define CELLS        256
#define RECORDS_MAX  64

static uint64_t seed;
static uint32_t random_below(uint32_t n)
{
    seed = hash_u64(seed + 1);
    return (uint32_t)(seed % n);
}

/* Which cell of which slice a cell of the chunk shows; {0, 0}: zeros. */
struct cell {
    uint64_t id;
    uint32_t off;
};

static void paint(struct cell *chunk, const struct slice_record *r)
{
    for (uint32_t i = 0; i < r->len / CELL_BYTES; i++)
        chunk[r->pos / CELL_BYTES + i] =
            r->id ? (struct cell){r->id, r->off / CELL_BYTES + i} : (struct cell){0, 0};
}

static struct slice_record random_record(uint64_t id)
{
    const uint32_t pos = random_below(CELLS), longest = random_below(3) ? 8 : CELLS - pos;
    const uint32_t room = CELLS - pos < longest ? CELLS - pos : longest;
    struct slice_record r = {.pos = pos * CELL_BYTES, .len = (1 + random_below(room)) * CELL_BYTES};
    if (random_below(5) == 0)
        return r;
    r.id = id;
    r.off = random_below(4) ? 0 : random_below(3) * CELL_BYTES;
    r.size = r.off + r.len;
    return r;
}

static struct bytes pack(uint8_t *into, const struct slice_record *records, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        slice_record_put(into + (size_t)i * RECORD_BYTES, &records[i]);
    return (struct bytes){into, (size_t)n * RECORD_BYTES};
}

/* What the new slice holds at a cell of it. */
static struct cell in_new_slice(const struct plan *p, uint32_t cell)
{
    const uint32_t at = p->pos + cell * CELL_BYTES;
    for (uint32_t i = p->first; i < p->first + p->count; i++) {
        const struct extent *x = &p->view->extents[i];
        if (at >= x->pos && at < x->pos + x->len)
            return x->id ? (struct cell){x->id, (x->off + (at - x->pos)) / CELL_BYTES}
                         : (struct cell){0, 0};
    }
    return (struct cell){UINT64_MAX, 0};
}

/* The chunk as it reads after the plan was carried out. */
static void paint_after(struct cell *chunk, const struct plan *p,
                        const struct slice_record *records)
{
    for (uint32_t i = 0; i < p->skipped; i++)
        paint(chunk, &records[i]);
    for (uint32_t i = 0; i < p->size / CELL_BYTES; i++) {
        const struct cell new = in_new_slice(p, i);
        CHECK(new.id != UINT64_MAX);
        chunk[p->pos / CELL_BYTES + i] = new;
    }
}

static void check_same(const struct cell *a, const struct cell *b)
{
    for (uint32_t i = 0; i < CELLS; i++) {
        CHECK_EQ(a[i].id, b[i].id);
        CHECK_EQ(a[i].off, b[i].off);
    }
}

/* The rule of the format, told once more by painting: may record i stay before those after it? */
static bool may_stay(const struct slice_record *records, uint32_t i, uint32_t n)
{
    struct cell chunk[CELLS] = {{0, 0}};
    const struct slice_record *r = &records[i];
    uint32_t first = CELLS, last = 0;
    if (r->id == 0 || r->len < 1 << 20)
        return false;
    for (uint32_t k = i; k < n; k++)
        paint(chunk, &records[k]);
    for (uint32_t c = 0; c < CELLS; c++) {
        if (chunk[c].id == 0)
            continue;
        first = c < first ? c : first;
        last = c;
    }
    if (first * CELL_BYTES != r->pos || (uint64_t)r->len * 5 < (last - first + 1) * CELL_BYTES)
        return false;
    for (uint32_t c = 0; c < r->len / CELL_BYTES; c++)
        if (chunk[first + c].id != r->id || chunk[first + c].off != r->off / CELL_BYTES + c)
            return false;
    return true;
}

TEST("a chunk reads the same after any plan, and exactly the records that may stay do")
{
    for (seed = 1; seed < 3000; seed++) {
        struct slice_record records[RECORDS_MAX];
        uint8_t packed[RECORDS_MAX * RECORD_BYTES];
        struct cell before[CELLS] = {{0, 0}}, after[CELLS] = {{0, 0}};
        const uint64_t own_seed = seed;
        const uint32_t n = 1 + random_below(random_below(2) ? 6 : RECORDS_MAX);
        for (uint32_t i = 0; i < n; i++) {
            records[i] = random_record(i + 1);
            paint(before, &records[i]);
        }
        struct plan plan;
        struct err e = ERR_INIT;
        CHECK_OK(plan_make(&plan, 0, pack(packed, records, n), (struct bytes){NULL, 0}, &e), &e);
        CHECK_EQ(plan.skipped + plan.replaced, n);
        uint32_t skipped = 0;
        while (skipped < n && may_stay(records, skipped, n))
            skipped++;
        CHECK_EQ(plan.skipped, skipped);
        if (plan.size >= CELL_BYTES || plan.size == 0) {
            paint_after(after, &plan, records);
            check_same(before, after);
        }
        plan_deinit(&plan);
        seed = own_seed;
    }
}

static void plan_of(struct plan *plan, const struct slice_record *records, uint32_t n)
{
    uint8_t packed[8 * RECORD_BYTES];
    struct err e = ERR_INIT;
    CHECK_OK(plan_make(plan, 0, pack(packed, records, n), (struct bytes){NULL, 0}, &e), &e);
}

TEST("a chunk of holes alone becomes one byte, because no slice is empty")
{
    const struct slice_record records[] = {{.pos = 0, .len = 4096}, {.pos = 8192, .len = 100}};
    struct plan plan;
    plan_of(&plan, records, 2);
    CHECK_EQ(plan.replaced, 2);
    CHECK_EQ(plan.size, 1);
    plan_deinit(&plan);
}

TEST("holes around the data are left out, those inside become zeros")
{
    const struct slice_record records[] = {{.pos = 0, .len = 10},
                                           {.pos = 100, .id = 1, .size = 10, .len = 10},
                                           {.pos = 200, .id = 2, .size = 10, .len = 10},
                                           {.pos = 300, .len = 10}};
    struct plan plan;
    plan_of(&plan, records, 4);
    CHECK_EQ(plan.pos, 100);
    CHECK_EQ(plan.size, 110);
    CHECK_EQ(plan.count, 3);
    plan_deinit(&plan);
}

TEST("a large head that comes again is not left alone: it counts as two references")
{
    const uint32_t mib = 1 << 20;
    const struct slice_record twice[] = {{.pos = 0, .id = 1, .size = mib, .len = mib},
                                         {.pos = 0, .id = 1, .size = mib, .len = mib}};
    const struct slice_record once[] = {{.pos = 0, .id = 1, .size = mib, .len = mib},
                                        {.pos = mib, .id = 2, .size = 10, .len = 10}};
    struct plan plan;
    plan_of(&plan, twice, 2);
    CHECK_EQ(plan.skipped, 0);
    plan_deinit(&plan);
    plan_of(&plan, once, 2);
    CHECK_EQ(plan.skipped, 1);
    CHECK_EQ(plan.replaced, 1); /* nothing to do */
    plan_deinit(&plan);
}

TEST("records that are cut off or out of bounds are damage")
{
    uint8_t packed[RECORD_BYTES] = {0};
    struct plan plan;
    struct err e = ERR_INIT;
    CHECK_RC(plan_make(&plan, 0, (struct bytes){packed, 23}, (struct bytes){NULL, 0}, &e),
             RC_CORRUPT);
    wire_put_u32(packed, UINT32_MAX);
    wire_put_u32(packed + 20, 1);
    CHECK_RC(plan_make(&plan, 0, (struct bytes){packed, 24}, (struct bytes){NULL, 0}, &e),
             RC_CORRUPT);
}
