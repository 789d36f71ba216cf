#include "fs/base/hash.h"

#include "tests/unit/check.h"

#define KEYS 512

TEST("FNV-1a gives its published sums")
{
    CHECK_EQ(hash_fnv1a32("", 0), 0x811C9DC5);
    CHECK_EQ(hash_fnv1a32("a", 1), 0xE40C292C);
    CHECK_EQ(hash_fnv1a32("foobar", 6), 0xBF9CF968);
}

TEST("hashes of bytes differ by length, by last byte and by zeros")
{
    static const char zeros[32];
    for (size_t i = 0; i < sizeof(zeros); i++)
        CHECK(hash_bytes(zeros, i) != hash_bytes(zeros, i + 1));
    CHECK(hash_bytes("12345678a", 9) != hash_bytes("12345678b", 9));
}

/* Few keys in a small map, so that chains collide, wrap around and close gaps all the time. */
static uint64_t key_of(uint64_t random)
{
    return random % KEYS * 0x10000;
}

static void check_same(const struct map64 *map, void *const *expected)
{
    size_t count = 0;
    for (uint64_t i = 0; i < KEYS; i++) {
        CHECK(map64_get(map, i * 0x10000) == expected[i]);
        count += expected[i] != NULL;
    }
    CHECK_EQ(map64_count(map), count);
}

TEST("a map agrees with an array through random puts and removals")
{
    struct err e;
    struct map64 *map = NULL;
    void *expected[KEYS] = {0};
    static char values[64];
    CHECK_OK(map64_open(&map, &e), &e);
    for (uint64_t step = 0; step < 200000; step++) {
        uint64_t random = hash_u64(step);
        uint64_t key = key_of(random);
        void **slot = &expected[key / 0x10000];
        /* In waves, so that the map also shrinks to nothing. */
        bool is_put = (random >> 32) % 100 < (step / 20000 % 2 ? 20U : 70U);
        if (is_put) {
            *slot = &values[(random >> 40) % sizeof(values)];
            CHECK_OK(map64_put(map, key, *slot, &e), &e);
        } else {
            CHECK(map64_remove(map, key) == *slot);
            *slot = NULL;
        }
        if (step % 1000 == 0)
            check_same(map, expected);
    }
    check_same(map, expected);
    map64_close(&map);
    CHECK(map == NULL);
    map64_close(&map);
}

static _Bool visit(uint64_t key, void *value, void *ctx)
{
    size_t *seen = ctx;
    (void)value;
    *seen += key;
    return *seen < 1000000;
}

TEST("each entry is visited once, until the visitor has enough")
{
    struct err e;
    struct map64 *map = NULL;
    size_t sum = 0;
    CHECK_OK(map64_open(&map, &e), &e);
    for (uint64_t key = 0; key < 1000; key++)
        CHECK_OK(map64_put(map, key, &sum, &e), &e);
    map64_each(map, visit, &sum);
    CHECK_EQ(sum, 499500);
    CHECK_OK(map64_put(map, UINT64_MAX, &sum, &e), &e);
    CHECK(map64_get(map, UINT64_MAX) == &sum);
    map64_close(&map);
}
