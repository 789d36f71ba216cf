#include "fs/cache/flight.h"

#include <pthread.h>
#include <stdatomic.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"

enum { BLOCK = 65536 };

static const struct block_id block = {.slice = 5, .indx = 3, .size = BLOCK};

struct fixture {
    struct memory *memory;
    struct flights *flights;
};

static struct fixture opened(uint64_t limit)
{
    struct err e = ERR_INIT;
    struct fixture f = {NULL, NULL};
    CHECK_OK(memory_open(&f.memory, limit, BLOCK, &e), &e);
    CHECK_OK(flights_open(&f.flights, f.memory, &e), &e);
    return f;
}

static void closed(struct fixture *f)
{
    flights_close(&f->flights);
    CHECK_EQ(memory_used(f->memory), 0);
    memory_close(&f->memory);
}

static struct flight *join(struct fixture *f, enum flight_role expected)
{
    struct err e = ERR_INIT;
    struct flight *flight = NULL;
    enum flight_role role;
    CHECK_OK(flight_join(f->flights, block, false, &flight, &role, &e), &e);
    CHECK_EQ(role, expected);
    return flight;
}

TEST("the first leads, the second follows, the third finds it ready")
{
    struct err e = ERR_INIT;
    struct fixture f = opened(BLOCK);
    struct flight *first = join(&f, FLIGHT_LEADS), *second = join(&f, FLIGHT_FOLLOWS);

    CHECK(first == second);
    memset(first->data, 7, BLOCK);
    flight_land(f.flights, first, RC_OK);
    CHECK_OK(flight_wait(f.flights, second, clock_deadline(1000), &e), &e);
    struct flight *third = join(&f, FLIGHT_READY);
    CHECK_EQ(third->data[BLOCK - 1], 7);
    flight_leave(f.flights, &first);
    flight_leave(f.flights, &second);
    flight_leave(f.flights, &third);
    CHECK_EQ(memory_used(f.memory), BLOCK);
    flights_trim(f.flights, 0);
    closed(&f);
}

TEST("a failure reaches every follower, and the next to come leads anew")
{
    struct err e = ERR_INIT;
    struct fixture f = opened(BLOCK);
    struct flight *first = join(&f, FLIGHT_LEADS), *second = join(&f, FLIGHT_FOLLOWS);

    flight_land(f.flights, first, RC_CORRUPT);
    flight_leave(f.flights, &first);
    struct flight *third = join(&f, FLIGHT_LEADS);
    CHECK_RC(flight_wait(f.flights, second, clock_deadline(1000), &e), RC_CORRUPT);
    flight_leave(f.flights, &second);
    flight_land(f.flights, third, RC_OK);
    flight_leave(f.flights, &third);
    closed(&f);
}

TEST("a follower does not wait past its deadline")
{
    struct err e = ERR_INIT;
    struct fixture f = opened(BLOCK);
    struct flight *first = join(&f, FLIGHT_LEADS), *second = join(&f, FLIGHT_FOLLOWS);

    CHECK_RC(flight_wait(f.flights, second, clock_deadline(20), &e), RC_TIMEOUT);
    flight_leave(f.flights, &second);
    flight_land(f.flights, first, RC_OK);
    flight_leave(f.flights, &first);
    closed(&f);
}

TEST("read-ahead takes nothing above the budget and joins nobody")
{
    struct err e = ERR_INIT;
    struct fixture f = opened(BLOCK - 1);
    struct flight *flight = NULL;
    enum flight_role role;

    CHECK_RC(flight_join(f.flights, block, true, &flight, &role, &e), RC_NO_SPACE);
    struct flight *first = join(&f, FLIGHT_LEADS);
    CHECK_RC(flight_join(f.flights, block, true, &flight, &role, &e), RC_EXISTS);
    flight_land(f.flights, first, RC_OK);
    flight_leave(f.flights, &first);
    closed(&f);
}

TEST("what is spent goes first when memory is short")
{
    struct fixture f = opened(2 * BLOCK);
    struct flight *first = join(&f, FLIGHT_LEADS);

    flight_land(f.flights, first, RC_OK);
    flight_leave(f.flights, &first);
    flights_trim(f.flights, 60000);
    CHECK_EQ(memory_used(f.memory), BLOCK);
    first = join(&f, FLIGHT_READY);
    flight_spend(f.flights, first);
    flights_trim(f.flights, 60000);
    CHECK_EQ(memory_used(f.memory), BLOCK);
    flight_leave(f.flights, &first);
    flights_trim(f.flights, 60000);
    CHECK_EQ(memory_used(f.memory), 0);
    closed(&f);
}
