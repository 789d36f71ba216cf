#include "fs/store/key.h"

#include <string.h>

#include "fs/base/hash.h"
#include "tests/unit/check.h"

static bool parses(const char *key)
{
    struct err e = ERR_INIT;
    struct block_id block;
    return block_key_parse(key, &block, &e) == RC_OK;
}

TEST("block keys are as the volume format writes them")
{
    char key[BLOCK_KEY_BYTES];
    block_key(key, false, (struct block_id){.slice = 3, .indx = 0, .size = 4194304});
    CHECK(strcmp(key, "chunks/0/0/3_0_4194304") == 0);
    block_key(key, false, (struct block_id){.slice = 1234567, .indx = 15, .size = 1});
    CHECK(strcmp(key, "chunks/1/1234/1234567_15_1") == 0);
    block_key(key, true, (struct block_id){.slice = 1234567, .indx = 2, .size = 65536});
    CHECK(strcmp(key, "chunks/87/1/1234567_2_65536") == 0);
    block_key(key, true, (struct block_id){.slice = 1099511627786, .indx = 0, .size = 9});
    CHECK(strcmp(key, "chunks/0A/1099511/1099511627786_0_9") == 0);
}

TEST("the largest block fits the buffer of a key and parses")
{
    const struct block_id largest = {UINT64_MAX, UINT32_MAX, UINT32_MAX};
    for (int hashed = 0; hashed < 2; hashed++) {
        char key[BLOCK_KEY_BYTES];
        struct err e = ERR_INIT;
        struct block_id back;
        block_key(key, hashed, largest);
        CHECK_OK(block_key_parse(key, &back, &e), &e);
        CHECK(back.slice == UINT64_MAX && back.indx == UINT32_MAX && back.size == UINT32_MAX);
    }
}

TEST("a key that was written parses to the same block, in either layout")
{
    for (uint64_t i = 0; i < 5000; i++) {
        uint64_t random = hash_u64(i);
        struct block_id block = {1 + (random >> (i % 60)), (uint32_t)(random % 1024),
                                 1 + (uint32_t)(random >> 40)};
        char key[BLOCK_KEY_BYTES];
        struct err e = ERR_INIT;
        struct block_id back;
        block_key(key, i % 2, block);
        CHECK_OK(block_key_parse(key, &back, &e), &e);
        CHECK(back.slice == block.slice && back.indx == block.indx && back.size == block.size);
    }
}

TEST("what block_key never writes is no block key")
{
    CHECK(parses("chunks/0/0/3_0_4194304"));
    static const char *const wrong[] = {
        "",
        "3_0_4",
        "chunks/0/0/",
        "chunks/0/0/3_0",
        "chunks/0/0/3_0_",
        "chunks/0/0/3_0_4x",
        "chunks/0/0/3_0_4_5",
        "chunks/0/0/03_0_4",
        "chunks/0/0/3_00_4",
        "chunks/0/0/3_0_04",
        "chunks/0/0/+3_0_4",
        "chunks/0/0/-3_0_4",
        "chunks/0/0/ 3_0_4",
        "chunks/0/1/3_0_4",
        "chunks/1/0/3_0_4",
        "chunks/0/3_0_4",
        "chunks/0/0/0/3_0_4",
        "/chunks/0/0/3_0_4",
        "chunks/4/0/3_0_4",
        "chunks/0a/0/10_0_4",
        "chunks/0/0/0_0_4",
        "chunks/0/0/3_0_0",
        "chunks/0/0/3_4294967296_4",
        "chunks/0/0/3_0_4294967296",
        "chunks/18446744073709/18446744073709551/18446744073709551616_0_4",
        "juicefs_uuid",
        "meta/dump-2026-01-01-000000.json.gz",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK(!parses(wrong[i]));
}

TEST("a slice is cut into full blocks and a last one of what is left")
{
    CHECK(block_count(0, 65536) == 0);
    CHECK(block_count(1, 65536) == 1);
    CHECK(block_count(65536, 65536) == 1);
    CHECK(block_count(65537, 65536) == 2);
    CHECK(block_size(65537, 65536, 0) == 65536);
    CHECK(block_size(65537, 65536, 1) == 1);
    CHECK(block_size(65537, 65536, 2) == 0);
    CHECK(block_size(65537, 65536, UINT32_MAX) == 0);
    CHECK(block_size(UINT32_MAX, 1 << 24, 255) == (1 << 24) - 1);
}
