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
    usage_add(&usage, (const int64_t[]){4096, 1, 10, 0, 4096, 1}, 6);
    usage_add(&usage, (const int64_t[]){8192, 0, 10, 9000, 8192, 0, 11, 1, 2, 3}, 10);
    usage_add(&usage, (const int64_t[]){-4096, -1}, 2);
    check_pending(&usage, 8192, 0);
    CHECK_EQ(map64_count(usage.pending[USAGE_DIR]), 2);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 10)->length, 9000);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 10)->space, 12288);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 10)->inodes, 1);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 11)->inodes, 3);
    usage_deinit(&usage);
}

TEST("what was gathered for a removed directory is forgotten, and nothing else")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){4096, 1, 10, 0, 4096, 1, 11, 0, 4096, 1, -3, 10, 8192, 2},
              14);
    usage_forget(&usage, 10);
    usage_forget(&usage, 12);
    CHECK(map64_get(usage.pending[USAGE_DIR], 10) == NULL);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 11)->inodes, 1);
    CHECK_EQ(sum_of(usage.pending[USAGE_QUOTA], 10)->inodes, 2);
    check_pending(&usage, 4096, 1);
    usage_deinit(&usage);
}

TEST("owners and quotas are kept apart from directories, and from each other")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage,
              (const int64_t[]){4096, 1, 10, 0, 4096, 1, -1, 10, 4096, 1, -2, 10, 8192, 2, -3, 10,
                                12288, 3},
              18);
    usage_add(&usage, (const int64_t[]){0, 0, -1, 10, -4096, -1, -2, 11, 0, 5}, 10);
    CHECK_EQ(sum_of(usage.pending[USAGE_DIR], 10)->inodes, 1);
    CHECK_EQ(sum_of(usage.pending[USAGE_USER], 10)->space, 0);
    CHECK_EQ(sum_of(usage.pending[USAGE_GROUP], 10)->space, 8192);
    CHECK_EQ(sum_of(usage.pending[USAGE_GROUP], 11)->inodes, 5);
    CHECK_EQ(sum_of(usage.pending[USAGE_QUOTA], 10)->inodes, 3);
    usage_deinit(&usage);
}

TEST("a mark that is not known is left out")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){0, 0, -4, 10, 1, 1, 0, 10, 1, 1, INT64_MIN, 1, 1, 1}, 14);
    for (int kind = 0; kind < USAGE_KINDS; kind++)
        CHECK_EQ(map64_count(usage.pending[kind]), 0);
    usage_deinit(&usage);
}

TEST("an answer that is too short or not in fours changes only what is whole")
{
    struct usage usage;
    struct err e = ERR_INIT;
    CHECK_OK(usage_init(&usage, &e), &e);
    usage_add(&usage, (const int64_t[]){1}, 1);
    check_pending(&usage, 0, 0);
    usage_add(&usage, (const int64_t[]){7, 1, 10, 1, 1}, 5);
    check_pending(&usage, 7, 1);
    CHECK_EQ(map64_count(usage.pending[USAGE_DIR]), 0);
    usage_deinit(&usage);
}
