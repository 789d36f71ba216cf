#include "fs/cache/index.h"

#include "fs/base/hash.h"
#include "tests/unit/check.h"

enum { BLOCK = 4194304 };

static struct block_id id_of(uint64_t n)
{
    return (struct block_id){.slice = n / 16 + 1, .indx = (uint32_t)(n % 16), .size = BLOCK};
}

static void put(struct block_index *ix, struct block_id block, uint64_t now_s)
{
    struct err e = ERR_INIT;
    CHECK_OK(block_index_put(ix, block, now_s, &e), &e);
}

TEST("what was put is there, what was removed is not, through growth and removals")
{
    enum { COUNT = 20000 };
    struct err e = ERR_INIT;
    struct block_index *ix = NULL;
    static bool is_in[COUNT];
    uint64_t expected = 0;

    CHECK_OK(block_index_open(&ix, &e), &e);
    for (uint64_t step = 0; step < 4ull * COUNT; step++) {
        const uint64_t n = hash_u64(step) % COUNT;
        if (hash_u64(step * 3 + 1) % 3 == 0) {
            CHECK_EQ(block_index_remove(ix, id_of(n)), is_in[n]);
            expected -= is_in[n];
            is_in[n] = false;
        } else {
            put(ix, id_of(n), 1);
            expected += !is_in[n];
            is_in[n] = true;
        }
    }
    CHECK_EQ(block_index_count(ix), expected);
    for (uint64_t n = 0; n < COUNT; n++)
        CHECK_EQ(block_index_has(ix, id_of(n)), is_in[n]);
    block_index_close(&ix);
}

TEST("bytes count the trailer and whole pages, and return to nothing")
{
    struct err e = ERR_INIT;
    struct block_index *ix = NULL;
    const struct block_id small = {.slice = 7, .indx = 0, .size = 1};

    CHECK_OK(block_index_open(&ix, &e), &e);
    put(ix, small, 1);
    CHECK_EQ(block_index_bytes(ix), 4096);
    put(ix, id_of(0), 1);
    CHECK_EQ(block_index_bytes(ix), 4096 + BLOCK + 4096);
    put(ix, small, 2);
    CHECK_EQ(block_index_count(ix), 2);
    CHECK(block_index_remove(ix, small));
    CHECK(block_index_remove(ix, id_of(0)));
    CHECK_EQ(block_index_bytes(ix), 0);
    block_index_close(&ix);
}

TEST("what is evicted is nearly always older than what was just used")
{
    enum { COUNT = 4096 };
    struct err e = ERR_INIT;
    struct block_index *ix = NULL;
    int young = 0;

    CHECK_OK(block_index_open(&ix, &e), &e);
    for (uint64_t n = 0; n < COUNT; n++)
        put(ix, id_of(n), 100 + n);
    for (int i = 0; i < COUNT / 2; i++) {
        struct block_id victim;
        CHECK(block_index_pick(ix, &victim));
        CHECK(block_index_remove(ix, victim));
        young += (victim.slice - 1) * 16 + victim.indx >= COUNT * 3 / 4;
    }
    CHECK(young < COUNT / 100);
    block_index_close(&ix);
}

TEST("an empty index has no victim")
{
    struct err e = ERR_INIT;
    struct block_index *ix = NULL;
    struct block_id victim;

    CHECK_OK(block_index_open(&ix, &e), &e);
    CHECK(!block_index_pick(ix, &victim));
    block_index_close(&ix);
}
