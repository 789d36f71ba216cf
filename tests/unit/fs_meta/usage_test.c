#include "fs/meta/usage.h"

#include "tests/unit/check.h"

static void check_pending(struct usage *usage, int64_t space, int64_t inodes)
{
    int64_t is_space, are_inodes;
    usage_pending(usage, &is_space, &are_inodes);
    CHECK_EQ(is_space, space);
    CHECK_EQ(are_inodes, inodes);
}

static const struct usage_sum *sum_of(const struct map64 *map, uint64_t key)
{
    const struct usage_sum *sum = map64_get(map, key);
    CHECK(sum != NULL);
    return sum;
}

TEST("usage adds up for the volume and for each directory")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){4096, 1, 10, 0, 4096, 1}, 6, NULL);
    usage_add(&usage, (const int64_t[]){8192, 0, 10, 9000, 8192, 0, 11, 1, 2, 3}, 10, NULL);
    usage_add(&usage, (const int64_t[]){-4096, -1}, 2, NULL);
    check_pending(&usage, 8192, 0);
    CHECK_EQ(map64_count(usage.dirs), 2);
    CHECK_EQ(sum_of(usage.dirs, 10)->length, 9000);
    CHECK_EQ(sum_of(usage.dirs, 10)->space, 12288);
    CHECK_EQ(sum_of(usage.dirs, 10)->inodes, 1);
    CHECK_EQ(sum_of(usage.dirs, 11)->inodes, 3);
    usage_deinit(&usage);
}

TEST("an owner is charged with the volume's part alone")
{
    struct usage usage;
    struct err e = ERR_INIT;
    const struct node_attr node = {.ino = 5, .uid = 1000, .gid = 100};
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){4096, 1, 10, 0, 4096, 1}, 6, &node);
    usage_add(&usage, (const int64_t[]){0, 0, 10, 0, 0, -1}, 6, &node);
    CHECK_EQ(map64_count(usage.owners), 1);
    CHECK_EQ(sum_of(usage.owners, 1000ULL << 32 | 100)->space, 4096);
    CHECK_EQ(sum_of(usage.owners, 1000ULL << 32 | 100)->inodes, 1);
    usage_deinit(&usage);
}

TEST("an answer that is too short or not in fours changes only what is whole")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){1}, 1, NULL);
    check_pending(&usage, 0, 0);
    usage_add(&usage, (const int64_t[]){7, 1, 10, 1, 1}, 5, NULL);
    check_pending(&usage, 7, 1);
    CHECK_EQ(map64_count(usage.dirs), 0);
    usage_deinit(&usage);
}
