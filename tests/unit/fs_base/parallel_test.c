#include "fs/base/parallel.h"

#include <stdatomic.h>

#include "tests/unit/check.h"

#define ITEMS 1000

static atomic_uint seen[ITEMS];

static enum rc count_item(size_t i, void *arg, struct err *e)
{
    (void)arg, (void)e;
    atomic_fetch_add(&seen[i], 1);
    return RC_OK;
}

TEST("every item is worked on once, by one thread or many, also by more than there are items")
{
    struct err e = ERR_INIT;
    const unsigned threads[] = {1, 7, PARALLEL_THREADS_MAX + 1};
    for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++) {
        for (size_t i = 0; i < ITEMS; i++)
            atomic_store(&seen[i], 0);
        CHECK_OK(parallel_run(ITEMS, threads[t], count_item, NULL, &e), &e);
        for (size_t i = 0; i < ITEMS; i++)
            CHECK_EQ(atomic_load(&seen[i]), 1);
    }
    CHECK_OK(parallel_run(0, 4, count_item, NULL, &e), &e);
}

static enum rc fail_at_ten(size_t i, void *arg, struct err *e)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
    return i == 10 ? err_fail(e, RC_CORRUPT, "item ten") : RC_OK;
}

TEST("the first failure is the answer, and nothing is begun after it")
{
    struct err e = ERR_INIT;
    atomic_uint begun = 0;
    CHECK_EQ(parallel_run(ITEMS, 1, fail_at_ten, &begun, &e), RC_CORRUPT);
    CHECK_STR(e.text, "item ten");
    CHECK_EQ(atomic_load(&begun), 11);
}
