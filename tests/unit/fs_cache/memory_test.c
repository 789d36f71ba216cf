#include "fs/cache/memory.h"

#include <pthread.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"

enum { WHOLE = 65536 };

static struct memory *opened(uint64_t limit)
{
    struct err e = ERR_INIT;
    struct memory *m = NULL;
    CHECK_OK(memory_open(&m, limit, WHOLE, &e), &e);
    return m;
}

TEST("who may do without gets nothing above the limit, who must have it does")
{
    struct memory *m = opened(2 * WHOLE);
    uint8_t *a = memory_try(m, WHOLE), *b = memory_try(m, WHOLE);

    CHECK(a && b);
    CHECK(!memory_try(m, 1));
    CHECK(!memory_is_over(m));
    uint8_t *c = memory_take(m, 10);
    CHECK(c != NULL);
    CHECK(memory_is_over(m));
    CHECK_EQ(memory_used(m), 2 * WHOLE + 10);
    memory_give(m, a, WHOLE);
    memory_give(m, b, WHOLE);
    memory_give(m, c, 10);
    CHECK_EQ(memory_used(m), 0);
    memory_close(&m);
}

TEST("growing keeps what was used and charges the difference")
{
    struct memory *m = opened(WHOLE);
    uint8_t *data = memory_take(m, 8);

    memcpy(data, "contents", 8);
    data = memory_grow(m, data, 8, 8, 64);
    CHECK(memcmp(data, "contents", 8) == 0);
    CHECK_EQ(memory_used(m), 64);
    data = memory_grow(m, data, 64, 8, WHOLE);
    CHECK(memcmp(data, "contents", 8) == 0);
    CHECK_EQ(memory_used(m), WHOLE);
    memory_give(m, data, WHOLE);
    memory_close(&m);
}

TEST("waiting gives up at its deadline")
{
    struct memory *m = opened(1);
    uint8_t *data = memory_take(m, 2);

    CHECK(!memory_wait(m, clock_deadline(20)));
    memory_give(m, data, 2);
    CHECK(memory_wait(m, clock_deadline(20)));
    memory_close(&m);
}

static void *give_later(void *arg)
{
    void **pair = arg;
    clock_sleep_until(clock_deadline(20));
    memory_give(pair[0], pair[1], 2);
    return NULL;
}

TEST("waiting ends when memory is given back")
{
    struct memory *m = opened(1);
    void *pair[] = {m, memory_take(m, 2)};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, give_later, pair), 0);
    CHECK(memory_wait(m, clock_deadline(10000)));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    memory_close(&m);
}
