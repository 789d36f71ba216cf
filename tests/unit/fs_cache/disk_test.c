#include "fs/cache/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/base/crc32c.h"
#include "fs/meta/types.h"
#include "tests/unit/check.h"

enum { BLOCK = 1 << 20, SUM_BYTES = 262144, PATH_BYTES = 1024 };

static const char uuid[] = "0f3b1d5e-1111-2222-3333-444455556666";

static struct disk_cache *opened(const char *dir, uint64_t max_bytes, double free_ratio)
{
    struct err e = ERR_INIT;
    struct disk_cache *c = NULL;
    const struct disk_cache_options options = {.dir = dir,
                                               .uuid = uuid,
                                               .sum_bytes = SUM_BYTES,
                                               .max_bytes = max_bytes,
                                               .free_ratio = free_ratio};
    CHECK_OK(disk_cache_open(&c, &options, &e), &e);
    disk_cache_tend(c);
    return c;
}

static struct block_id block_of(uint64_t slice, uint32_t size)
{
    return (struct block_id){.slice = slice, .indx = 0, .size = size};
}

static void fill(uint8_t *out, uint32_t size, uint64_t seed)
{
    for (uint32_t i = 0; i < size; i++)
        out[i] = (uint8_t)((seed * 131 + i) * 2654435761u >> 11);
}

static void put(struct disk_cache *c, uint64_t slice, uint32_t size)
{
    auto_free uint8_t *data = malloc(size);
    fill(data, size, slice);
    disk_cache_put(c, block_of(slice, size), data);
}

static void path_of(const char *dir, uint64_t slice, uint32_t size, char out[PATH_BYTES])
{
    char key[BLOCK_KEY_BYTES];
    block_key(key, false, block_of(slice, size));
    (void)snprintf(out, PATH_BYTES, "%s/%s/raw/%s", dir, uuid, key);
}

static const struct block_sums no_sums = {NULL, 0};

/* Read a part and compare; the code that came. */
static enum rc read_part(struct disk_cache *c, uint64_t slice, uint32_t size, uint32_t off,
                         uint32_t len)
{
    struct err e = ERR_INIT;
    auto_free uint8_t *whole = malloc(size);
    auto_free uint8_t *got = malloc(len ? len : 1);

    enum rc rc = disk_cache_read(c, block_of(slice, size), no_sums, off, len, got, &e);
    if (rc)
        return rc;
    fill(whole, size, slice);
    CHECK_BYTES(got, len, whole + off, len);
    return RC_OK;
}

static void flip(const char *path, off_t at)
{
    uint8_t byte;
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
}

TEST("any part of a block reads back as it was put")
{
    struct disk_cache *c = opened(check_directory(), 1ull << 30, 0);
    static const uint32_t sizes[] = {1, 5000, 32768, 32769, 100000, BLOCK};

    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint32_t size = sizes[i];
        put(c, i + 1, size);
        CHECK_RC(read_part(c, i + 1, size, 0, size), RC_OK);
        CHECK_RC(read_part(c, i + 1, size, size - 1, 1), RC_OK);
        CHECK_RC(read_part(c, i + 1, size, size / 3, size / 2), RC_OK);
        CHECK_RC(read_part(c, i + 1, size, 0, size / 2), RC_OK);
        for (uint32_t n = 0; n < 50; n++) {
            const uint32_t off = (n * 7919u * 31u) % size;
            CHECK_RC(read_part(c, i + 1, size, off, (n * 104729u) % (size - off + 1)), RC_OK);
        }
    }
    CHECK_RC(read_part(c, 99, 100, 0, 100), RC_NOT_FOUND);
    disk_cache_close(&c);
}

TEST("a flipped byte is found, evicted and answered as not cached")
{
    const char *dir = check_directory();
    struct disk_cache *c = opened(dir, 1ull << 30, 0);
    char path[PATH_BYTES];

    put(c, 1, BLOCK);
    path_of(dir, 1, BLOCK, path);
    flip(path, 700000);
    CHECK_RC(read_part(c, 1, BLOCK, 0, 4096), RC_OK);
    CHECK_RC(read_part(c, 1, BLOCK, 690000, 20000), RC_NOT_FOUND);
    CHECK_EQ(access(path, F_OK), -1);
    put(c, 1, BLOCK);
    CHECK_RC(read_part(c, 1, BLOCK, 690000, 20000), RC_OK);
    disk_cache_close(&c);
}

TEST("a file that was cut, or is empty, or grew is evicted")
{
    const char *dir = check_directory();
    static const off_t lengths[] = {BLOCK, 0, 100, BLOCK + 4096};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct disk_cache *c = opened(dir, 1ull << 30, 0);
        char path[PATH_BYTES];
        put(c, 1, BLOCK);
        path_of(dir, 1, BLOCK, path);
        CHECK_EQ(truncate(path, lengths[i]), 0);
        CHECK_RC(read_part(c, 1, BLOCK, 0, 100), RC_NOT_FOUND);
        CHECK_EQ(access(path, F_OK), -1);
        disk_cache_close(&c);
    }
}

static uint32_t sums_of(uint64_t slice, uint32_t *sums)
{
    auto_free uint8_t *data = malloc(BLOCK);
    fill(data, BLOCK, slice);
    for (uint32_t i = 0; i < BLOCK / SUM_BYTES; i++)
        sums[i] = crc32c(0, data + (size_t)i * SUM_BYTES, SUM_BYTES);
    return BLOCK / SUM_BYTES;
}

TEST("two files that were swapped are told by the sums of their blocks")
{
    const char *dir = check_directory();
    struct disk_cache *c = opened(dir, 1ull << 30, 0);
    char one[PATH_BYTES], two[PATH_BYTES];
    uint32_t sums[BLOCK / SUM_BYTES];
    uint8_t got[100];
    struct err e = ERR_INIT;

    put(c, 1, BLOCK);
    put(c, 2, BLOCK);
    const struct block_sums of_one = {sums, sums_of(1, sums)};
    CHECK_OK(disk_cache_read(c, block_of(1, BLOCK), of_one, 0, 100, got, &e), &e);
    disk_cache_close(&c);

    path_of(dir, 1, BLOCK, one);
    path_of(dir, 2, BLOCK, two);
    CHECK_EQ(renameat2(AT_FDCWD, one, AT_FDCWD, two, 2 /* exchange */), 0);
    c = opened(dir, 1ull << 30, 0);
    CHECK_RC(disk_cache_read(c, block_of(1, BLOCK), of_one, 0, 100, got, &e), RC_NOT_FOUND);
    CHECK_EQ(access(one, F_OK), -1);
    disk_cache_close(&c);
}

TEST("what an earlier mount left is found, and the limit is kept")
{
    enum { COUNT = 20 };
    const char *dir = check_directory();
    struct disk_cache *c = opened(dir, 1ull << 30, 0);
    uint64_t bytes, blocks, hits = 0;

    for (uint64_t i = 1; i <= COUNT; i++)
        put(c, i * 1000, BLOCK);
    disk_cache_close(&c);

    c = opened(dir, 1ull << 30, 0);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK_EQ(blocks, COUNT);
    disk_cache_close(&c);

    c = opened(dir, (COUNT / 2) * (BLOCK + 4096ull), 0);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK_EQ(blocks, COUNT / 2);
    for (uint64_t i = 1; i <= COUNT; i++)
        hits += read_part(c, i * 1000, BLOCK, 5, 5) == RC_OK;
    CHECK_EQ(hits, COUNT / 2);
    put(c, 1, BLOCK);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK(bytes <= (COUNT / 2) * (BLOCK + 4096ull));
    CHECK_RC(read_part(c, 1, BLOCK, 0, 9), RC_OK);
    disk_cache_close(&c);
}

TEST("a second mount of the directory reads and adds, and takes over when the first goes")
{
    const char *dir = check_directory();
    struct disk_cache *first = opened(dir, 4 * (BLOCK + 4096ull), 0);
    struct disk_cache *second = opened(dir, 4 * (BLOCK + 4096ull), 0);
    uint64_t bytes, blocks;

    put(first, 1, BLOCK);
    CHECK_RC(read_part(second, 1, BLOCK, 0, BLOCK), RC_OK);
    for (uint64_t i = 2; i <= 9; i++)
        put(second, i, BLOCK);
    disk_cache_tend(second);
    disk_cache_tend(first);
    disk_cache_usage(first, &bytes, &blocks);
    CHECK_EQ(blocks, 4);
    disk_cache_close(&first);
    disk_cache_tend(second);
    put(second, 10, BLOCK);
    disk_cache_tend(second);
    disk_cache_usage(second, &bytes, &blocks);
    CHECK_EQ(blocks, 4);
    disk_cache_close(&second);
}

TEST("a directory that is removed is bypassed and does not fail anybody")
{
    const char *dir = check_directory();
    char command[PATH_BYTES];
    struct disk_cache *c = opened(dir, 1ull << 30, 0);

    put(c, 1, BLOCK);
    (void)snprintf(command, sizeof(command), "rm -rf '%s/%s'", dir, uuid);
    CHECK_EQ(system(command), 0);
    put(c, 2, BLOCK);
    CHECK_RC(read_part(c, 2, BLOCK, 0, 100), RC_NOT_FOUND);
    disk_cache_tend(c);
    disk_cache_close(&c);
}

TEST("the directory of another account is not believed")
{
    const char *dir = check_directory();
    char path[PATH_BYTES];
    if (geteuid() != 0)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, uuid);
    CHECK_EQ(mkdir(path, 0777), 0);
    CHECK_EQ(chown(path, 65534, 65534), 0);
    struct disk_cache *c = opened(dir, 1ull << 30, 0);
    put(c, 1, BLOCK);
    CHECK_RC(read_part(c, 1, BLOCK, 0, 100), RC_NOT_FOUND);
    disk_cache_close(&c);
}

TEST("the directory is ours alone")
{
    const char *dir = check_directory();
    char path[PATH_BYTES];
    struct stat st;
    struct disk_cache *c = opened(dir, 1ull << 30, 0);

    (void)snprintf(path, sizeof(path), "%s/%s", dir, uuid);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0700);
    put(c, 1, 100);
    path_of(dir, 1, 100, path);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    disk_cache_close(&c);
}

TEST("a full file system is bypassed, and evicting makes it usable again")
{
    const char *dir = check_directory();
    uint64_t bytes, blocks;
    if (geteuid() != 0 || mount("tarn-test", dir, "tmpfs", 0, "size=10m") == -1)
        return;
    struct disk_cache *c = opened(dir, 1ull << 30, 0);
    for (uint64_t i = 1; i <= 20; i++)
        put(c, i, BLOCK);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK(blocks > 5 && blocks < 10);
    CHECK_RC(read_part(c, 1, BLOCK, 0, BLOCK), RC_OK);
    disk_cache_close(&c);

    c = opened(dir, 1ull << 30, 0.5);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK(blocks >= 3 && blocks <= 5);
    put(c, 100, BLOCK);
    disk_cache_tend(c);
    disk_cache_usage(c, &bytes, &blocks);
    CHECK(blocks >= 3 && blocks <= 5);
    disk_cache_close(&c);
    CHECK_EQ(umount(dir), 0);
}
