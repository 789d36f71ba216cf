#include "fs/meta/slice.h"

#include "fs/base/hash.h"
#include "fs/base/wire.h"
#include "tests/unit/check.h"

#define RECORD_BYTES 24
#define CANVAS_BYTES 4096 /* of the model: a chunk in small */

/* A source of numbers that is the same in every run. */
static uint64_t seed;
static uint32_t random_below(uint32_t n)
{
    seed = hash_u64(seed + 1);
    return (uint32_t)(seed % n);
}

static struct bytes pack(uint8_t *into, const struct slice_record *records, size_t n)
{
    for (size_t i = 0; i < n; i++)
        slice_record_put(into + i * RECORD_BYTES, &records[i]);
    return (struct bytes){into, n * RECORD_BYTES};
}

/* What the model knows of a byte: which byte of which slice it is. */
struct origin {
    uint64_t id;
    uint32_t off;
};

static struct slice_record random_record(uint32_t id)
{
    struct slice_record r = {.pos = random_below(CANVAS_BYTES)};
    r.len = 1 + random_below(CANVAS_BYTES - r.pos);
    if (random_below(4) == 0)
        return r;
    r.id = id;
    r.off = random_below(3) ? 0 : random_below(100);
    r.size = r.off + r.len + random_below(50);
    return r;
}

static void paint_model(struct origin *model, const struct slice_record *r)
{
    for (uint32_t i = 0; i < r->len; i++)
        model[r->pos + i] = r->id ? (struct origin){r->id, r->off + i} : (struct origin){0, 0};
}

/* Extents are adjacent from 0 and name, byte by byte, what the model does. */
static void check_view(const struct chunk_view *view, const struct origin *model, uint32_t covered)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < view->extent_count; i++) {
        const struct extent *x = &view->extents[i];
        CHECK_EQ(x->pos, at);
        CHECK(x->len > 0);
        for (uint32_t k = 0; k < x->len; k++) {
            CHECK_EQ(x->id, model[at + k].id);
            if (x->id)
                CHECK_EQ(x->off + k, model[at + k].off);
        }
        at += x->len;
    }
    CHECK_EQ(at, covered);
    CHECK_EQ(view->covered, covered);
}

static void compare_with_model(uint32_t records)
{
    static struct origin model[CANVAS_BYTES];
    static struct slice_record record[64];
    static uint8_t packed[64 * RECORD_BYTES];
    memset(model, 0, sizeof(model));
    uint32_t covered = 0;
    for (uint32_t i = 0; i < records; i++) {
        /* now and then a slice is named twice, as copies do */
        record[i] = random_record(1 + (random_below(5) ? i : 0));
        paint_model(model, &record[i]);
        uint32_t end = record[i].pos + record[i].len;
        covered = end > covered ? end : covered;
    }
    struct chunk_view *view = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(chunk_view_new(7, pack(packed, record, records), (struct bytes){NULL, 0}, &view, &e),
             &e);
    CHECK_EQ(view->indx, 7);
    CHECK_EQ(view->record_count, records);
    check_view(view, model, covered);
    chunk_view_unref(&view);
}

TEST("the overlay of random records is what painting them byte by byte gives")
{
    for (uint32_t round = 0; round < 1500; round++) {
        seed = round;
        compare_with_model(1 + round % 64);
    }
}

TEST("no records are an empty view")
{
    struct chunk_view *view = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(chunk_view_new(0, (struct bytes){NULL, 0}, (struct bytes){NULL, 0}, &view, &e), &e);
    CHECK_EQ(view->extent_count, 0);
    CHECK_EQ(view->covered, 0);
    CHECK(chunk_view_sums(view, 1) == NULL);
    chunk_view_unref(&view);
    CHECK(view == NULL);
}

TEST("the record of the format's example is read and written the same")
{
    static const uint8_t example[RECORD_BYTES] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                                                  0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 5};
    const struct slice_record record = {.pos = 0, .id = 1, .size = 5, .off = 0, .len = 5};
    uint8_t packed[RECORD_BYTES];
    slice_record_put(packed, &record);
    CHECK_BYTES(packed, sizeof(packed), example, sizeof(example));

    struct chunk_view *view = NULL;
    struct err e = ERR_INIT;
    struct bytes bytes = {example, sizeof(example)};
    CHECK_OK(chunk_view_new(0, bytes, (struct bytes){NULL, 0}, &view, &e), &e);
    CHECK_EQ(view->extent_count, 1);
    CHECK_EQ(view->extents[0].id, 1);
    CHECK_EQ(view->extents[0].len, 5);
    chunk_view_unref(&view);
}

static enum rc open_one(struct slice_record record)
{
    uint8_t packed[RECORD_BYTES];
    struct chunk_view *view = NULL;
    struct err e = ERR_INIT;
    enum rc rc = chunk_view_new(0, pack(packed, &record, 1), (struct bytes){NULL, 0}, &view, &e);
    chunk_view_unref(&view);
    return rc;
}

TEST("a record that breaks a bound of the format is corrupt")
{
    const uint32_t chunk = META_CHUNK_BYTES;
    CHECK_RC(open_one((struct slice_record){0, 9, chunk, 0, chunk}), RC_OK);
    CHECK_RC(open_one((struct slice_record){chunk, 0, 0, 0, 0}), RC_OK);
    CHECK_RC(open_one((struct slice_record){1, 9, chunk, 0, chunk}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){chunk, 0, 0, 0, 1}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){UINT32_MAX, 0, 0, 0, UINT32_MAX}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){0, 9, 10, 6, 5}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){0, 9, 10, UINT32_MAX, 5}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){0, 9, 0, 0, 0}), RC_CORRUPT);
    CHECK_RC(open_one((struct slice_record){0, 9, chunk + 1, 0, 1}), RC_CORRUPT);
}

TEST("a hole may carry a size and an offset, as copies write them")
{
    CHECK_RC(open_one((struct slice_record){0, 0, 100, 50, 100}), RC_OK);
}

TEST("records that are cut short are corrupt")
{
    static const uint8_t zeros[3 * RECORD_BYTES];
    for (size_t size = 1; size < sizeof(zeros); size++) {
        if (size % RECORD_BYTES == 0)
            continue;
        struct chunk_view *view = NULL;
        struct err e = ERR_INIT;
        struct bytes packed = {zeros, size};
        CHECK_RC(chunk_view_new(0, packed, (struct bytes){NULL, 0}, &view, &e), RC_CORRUPT);
        CHECK(view == NULL);
    }
}

TEST("random bytes in place of records never make a view that leaves the chunk")
{
    uint8_t noise[8 * RECORD_BYTES];
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t)(random_below(3) ? 0 : random_below(256));
        struct chunk_view *view = NULL;
        struct err e = ERR_INIT;
        struct bytes packed = {noise, (size_t)(1 + random_below(8)) * RECORD_BYTES};
        if (chunk_view_new(0, packed, (struct bytes){NULL, 0}, &view, &e) == RC_OK)
            CHECK(view->covered <= META_CHUNK_BYTES);
        chunk_view_unref(&view);
    }
}

/* One entry of packed sums; returns where the next one goes. */
static uint8_t *put_sums(uint8_t *at, uint64_t id, uint32_t size, uint32_t count)
{
    wire_put_u64(at, id);
    wire_put_u32(at + 8, size);
    wire_put_u32(at + 12, count);
    at += 16;
    for (uint32_t i = 0; i < count; i++, at += 4)
        wire_put_u32(at, (uint32_t)(id * 100 + i));
    return at;
}

static enum rc open_sums(const uint8_t *packed, size_t size, struct chunk_view **out)
{
    struct err e = ERR_INIT;
    return chunk_view_new(0, (struct bytes){NULL, 0}, (struct bytes){packed, size}, out, &e);
}

TEST("sums are found by slice, for blocks of 256, 128 and 64 KiB")
{
    uint8_t packed[256];
    uint8_t *at = put_sums(packed, 3, 300000, 2);
    at = put_sums(at, 7, 1, 1);
    at = put_sums(at, 8, 300000, 3);
    at = put_sums(at, 1ULL << 40, 300000, 5);
    struct chunk_view *view = NULL;
    CHECK_RC(open_sums(packed, (size_t)(at - packed), &view), RC_OK);
    CHECK_EQ(view->sums_count, 4);
    CHECK_EQ(chunk_view_sums(view, 3)->count, 2);
    CHECK_EQ(chunk_view_sums(view, 3)->sums[1], 301);
    CHECK_EQ(chunk_view_sums(view, 7)->sums[0], 700);
    CHECK_EQ(chunk_view_sums(view, 1ULL << 40)->count, 5);
    CHECK(chunk_view_sums(view, 5) == NULL);
    chunk_view_unref(&view);
}

TEST("malformed sums are corrupt")
{
    uint8_t packed[256];
    struct chunk_view *view = NULL;
    size_t whole = (size_t)(put_sums(packed, 3, 300000, 2) - packed);
    for (size_t cut = 1; cut < whole; cut++)
        CHECK_RC(open_sums(packed, cut, &view), RC_CORRUPT);

    CHECK_RC(open_sums(packed, (size_t)(put_sums(packed, 3, 300000, 4) - packed), &view),
             RC_CORRUPT);
    CHECK_RC(open_sums(packed, (size_t)(put_sums(packed, 3, 0, 1) - packed), &view), RC_CORRUPT);
    CHECK_RC(open_sums(packed, (size_t)(put_sums(packed, 0, 5, 1) - packed), &view), RC_CORRUPT);
    uint8_t *second = put_sums(packed, 3, 5, 1);
    CHECK_RC(open_sums(packed, (size_t)(put_sums(second, 3, 5, 1) - packed), &view), RC_CORRUPT);
    CHECK_RC(open_sums(packed, (size_t)(put_sums(second, 2, 5, 1) - packed), &view), RC_CORRUPT);
}

TEST("a count of sums that would overflow is corrupt")
{
    uint8_t packed[32] = {0};
    wire_put_u64(packed, 1);
    wire_put_u32(packed + 8, UINT32_MAX);
    wire_put_u32(packed + 12, UINT32_MAX);
    struct chunk_view *view = NULL;
    CHECK_RC(open_sums(packed, sizeof(packed), &view), RC_CORRUPT);
}

TEST("a view lives until its last reference is dropped")
{
    uint8_t packed[RECORD_BYTES];
    const struct slice_record record = {.pos = 0, .id = 1, .size = 5, .off = 0, .len = 5};
    struct chunk_view *view = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(chunk_view_new(0, pack(packed, &record, 1), (struct bytes){NULL, 0}, &view, &e), &e);
    struct chunk_view *other = chunk_view_ref(view);
    chunk_view_unref(&view);
    CHECK_EQ(other->extents[0].id, 1);
    chunk_view_unref(&other);
}
