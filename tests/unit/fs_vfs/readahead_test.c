#include "fs/vfs/readahead.h"

#include "fs/base/hash.h"
#include "tests/unit/check.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

static const struct readahead_limits limits = {.first_bytes = 8 * MIB, .max_bytes = 64 * MIB};

TEST("one read plans nothing, the second plans a window")
{
    struct readahead r = {0};
    struct readahead_plan plan = readahead_note(&r, 0, 128 * KIB, limits);
    CHECK_EQ(plan.to, plan.from);
    plan = readahead_note(&r, 128 * KIB, 128 * KIB, limits);
    CHECK_EQ(plan.from, 256 * KIB);
    CHECK_EQ(plan.to, 256 * KIB + 8 * MIB);
}

TEST("a long sequential run is planned without gaps or repeats, up to the largest window")
{
    struct readahead r = {0};
    uint64_t planned = 0, largest = 0;
    for (uint64_t off = 0; off < 1024 * MIB; off += 128 * KIB) {
        const struct readahead_plan plan = readahead_note(&r, off, 128 * KIB, limits);
        if (plan.from == plan.to)
            continue;
        CHECK(planned == 0 || plan.from == planned);
        planned = plan.to;
        if (plan.to - off > largest)
            largest = plan.to - off;
        CHECK(plan.to <= off + 128 * KIB + limits.max_bytes);
    }
    CHECK(largest > limits.max_bytes - MIB);
    CHECK(planned > 1024 * MIB);
}

TEST("requests that overtake each other are still sequential")
{
    struct readahead r = {0};
    uint64_t planned = 0;
    for (uint64_t off = 0; off < 64 * MIB; off += 512 * KIB) {
        static const uint64_t order[] = {256, 0, 384, 128};
        for (int i = 0; i < 4; i++) {
            const struct readahead_plan plan =
                readahead_note(&r, off + order[i] * KIB, 128 * KIB, limits);
            if (plan.to > planned)
                planned = plan.to;
        }
    }
    CHECK(planned >= 64 * MIB);
}

TEST("random reads plan nothing")
{
    struct readahead r = {0};
    uint64_t planned = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        const struct readahead_plan plan =
            readahead_note(&r, hash_u64(i) % (1ull << 40), 4 * KIB, limits);
        planned += plan.to - plan.from;
    }
    CHECK_EQ(planned, 0);
}

TEST("the same distance twice plans the next place")
{
    struct readahead r = {0};
    (void)readahead_note(&r, 0, 4 * KIB, limits);
    (void)readahead_note(&r, 100 * MIB, 4 * KIB, limits);
    const struct readahead_plan plan = readahead_note(&r, 200 * MIB, 4 * KIB, limits);
    CHECK_EQ(plan.from, 300 * MIB);
    CHECK_EQ(plan.to, 300 * MIB + 4 * KIB);
}

TEST("a hot page does not make a window")
{
    struct readahead r = {0};
    uint64_t planned = 0;
    for (int i = 0; i < 10000; i++) {
        const struct readahead_plan plan = readahead_note(&r, 0, 4 * KIB, limits);
        planned += plan.to - plan.from;
    }
    CHECK(planned <= limits.first_bytes);
}

TEST("without a limit there is no read-ahead")
{
    struct readahead r = {0};
    const struct readahead_limits none = {.first_bytes = 8 * MIB, .max_bytes = 0};
    for (uint64_t off = 0; off < 10 * MIB; off += 128 * KIB) {
        const struct readahead_plan plan = readahead_note(&r, off, 128 * KIB, none);
        CHECK_EQ(plan.from, plan.to);
    }
}
