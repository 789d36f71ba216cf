#include "fs/cache/block.h"

#include <pthread.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_cache/fake_volume.h"

enum { BLOCK = 1 << 20, READERS = 16 };

static const struct block_sums no_sums = {NULL, 0};

static struct block_cache *opened(struct volume *volume, const char *dir, uint64_t memory_bytes)
{
    struct err e = ERR_INIT;
    struct block_cache *c = NULL;
    const struct block_cache_options options = {.volume = volume,
                                                .disk_dir = dir,
                                                .disk_bytes = 1ull << 30,
                                                .memory_bytes = memory_bytes,
                                                .max_fetches = 4};
    CHECK_OK(block_cache_open(&c, &options, &e), &e);
    return c;
}

static enum rc read_part(struct block_cache *c, struct block_id block, uint32_t off, uint32_t len)
{
    struct err e = ERR_INIT;
    auto_free uint8_t *whole = malloc(block.size), *got = malloc(len);
    enum rc rc = block_cache_read(c, block, no_sums, off, len, got, clock_deadline(10000), &e);
    if (rc)
        return rc;
    fake_block(block, whole);
    CHECK_BYTES(got, len, whole + off, len);
    return RC_OK;
}

struct reader {
    struct block_cache *cache;
    enum rc rc;
    uint8_t got[4096];
};

static const struct block_id wanted = {.slice = 9, .indx = 2, .size = BLOCK};

static void *read_wanted(void *arg)
{
    struct reader *r = arg;
    struct err e = ERR_INIT;
    r->rc = block_cache_read(r->cache, wanted, no_sums, 4096, sizeof(r->got), r->got,
                             clock_deadline(10000), &e);
    return NULL;
}

static void race(struct block_cache *c, struct reader *readers)
{
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i].cache = c;
        CHECK_EQ(pthread_create(&threads[i], NULL, read_wanted, &readers[i]), 0);
    }
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST("many readers of one block make one fetch")
{
    struct volume volume = {.block_bytes = BLOCK, .delay_ms = 100};
    struct block_cache *c = opened(&volume, NULL, 8 * BLOCK);
    static struct reader readers[READERS];
    auto_free uint8_t *whole = malloc(BLOCK);

    race(c, readers);
    fake_block(wanted, whole);
    for (int i = 0; i < READERS; i++) {
        CHECK_RC(readers[i].rc, RC_OK);
        CHECK_BYTES(readers[i].got, 4096, whole + 4096, 4096);
    }
    CHECK_EQ(volume.fetches, 1);
    block_cache_close(&c);
}

TEST("a failed fetch fails all who waited for it, and is not remembered")
{
    struct volume volume = {.block_bytes = BLOCK, .delay_ms = 100, .outcome = RC_NOT_FOUND};
    struct block_cache *c = opened(&volume, NULL, 8 * BLOCK);
    static struct reader readers[READERS];

    race(c, readers);
    for (int i = 0; i < READERS; i++)
        CHECK_RC(readers[i].rc, RC_NOT_FOUND);
    CHECK(volume.fetches < READERS);
    volume.outcome = RC_OK;
    CHECK_RC(read_part(c, wanted, 0, BLOCK), RC_OK);
    block_cache_close(&c);
}

static bool is_kept(struct block_cache *c, uint64_t blocks_wanted)
{
    uint64_t bytes, blocks;
    for (int i = 0; i < 500; i++) {
        block_cache_usage(c, &bytes, &blocks);
        if (blocks == blocks_wanted)
            return true;
        clock_sleep_until(clock_deadline(10));
    }
    return false;
}

TEST("what was fetched is kept on disk and read from there by the next mount")
{
    struct volume volume = {.block_bytes = BLOCK};
    const char *dir = check_directory();
    struct block_cache *c = opened(&volume, dir, 8 * BLOCK);

    CHECK_RC(read_part(c, wanted, 100, 5000), RC_OK);
    CHECK(is_kept(c, 1));
    block_cache_close(&c);
    c = opened(&volume, dir, 8 * BLOCK);
    CHECK_RC(read_part(c, wanted, BLOCK - 9, 9), RC_OK);
    CHECK_EQ(volume.fetches, 1);
    block_cache_close(&c);
}

TEST("what was uploaded is kept and never fetched")
{
    struct volume volume = {.block_bytes = BLOCK};
    struct block_cache *c = opened(&volume, check_directory(), 8 * BLOCK);
    auto_free uint8_t *whole = malloc(BLOCK);

    fake_block(wanted, whole);
    block_cache_keep(c, wanted, whole);
    CHECK_RC(read_part(c, wanted, 1, BLOCK - 1), RC_OK);
    CHECK_EQ(volume.fetches, 0);
    block_cache_close(&c);
}

TEST("read-ahead fetches before the reader comes, once")
{
    struct volume volume = {.block_bytes = BLOCK, .delay_ms = 50};
    struct block_cache *c = opened(&volume, NULL, 8 * BLOCK);

    block_cache_prefetch(c, wanted, no_sums);
    block_cache_prefetch(c, wanted, no_sums);
    CHECK_RC(read_part(c, wanted, 0, BLOCK), RC_OK);
    CHECK_EQ(volume.fetches, 1);
    block_cache_close(&c);
}

TEST("read-ahead above the budget is dropped, and reading still works")
{
    struct volume volume = {.block_bytes = BLOCK, .delay_ms = 20};
    struct block_cache *c = opened(&volume, NULL, 2 * BLOCK);

    for (uint32_t i = 0; i < 16; i++)
        block_cache_prefetch(c, (struct block_id){3, i, BLOCK}, no_sums);
    CHECK(memory_used(block_cache_memory(c)) <= 2 * BLOCK);
    for (uint32_t i = 0; i < 16; i++)
        CHECK_RC(read_part(c, (struct block_id){3, i, BLOCK}, 0, BLOCK), RC_OK);
    CHECK_EQ(volume.fetches, 16);
    block_cache_trim(c);
    CHECK(memory_used(block_cache_memory(c)) <= BLOCK);
    block_cache_close(&c);
}

TEST("a read past the end of a block is refused")
{
    struct volume volume = {.block_bytes = BLOCK};
    struct block_cache *c = opened(&volume, NULL, 2 * BLOCK);
    CHECK_RC(read_part(c, wanted, BLOCK, 1), RC_INVALID);
    block_cache_close(&c);
}
