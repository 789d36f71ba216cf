#include "primary/lag.h"

#include "tests/unit/check.h"

TEST("a slot that has confirmed everything does not lag")
{
    struct lag lag;
    lag_init(&lag, 1000);
    CHECK_EQ(lag_look(&lag, 500, 500, 9000), 0);
    CHECK_EQ(lag_look(&lag, 500, 600, 10000), 0);
}

TEST("a slot that confirms nothing lags by the time that passes")
{
    struct lag lag;
    lag_init(&lag, 1000);
    CHECK_EQ(lag_look(&lag, 500, 500, 1000), 0);
    CHECK_EQ(lag_look(&lag, 600, 500, 2000), 1000);
    CHECK_EQ(lag_look(&lag, 700, 500, 62000), 61000);
}

TEST("passing the remembered position proves having caught up with its moment")
{
    struct lag lag;
    lag_init(&lag, 0);
    CHECK_EQ(lag_look(&lag, 100, 0, 10), 10);       /* remembers 100 at 10 */
    CHECK_EQ(lag_look(&lag, 300, 99, 2000), 2000);  /* not passed yet */
    CHECK_EQ(lag_look(&lag, 400, 100, 3000), 2990); /* passed: all of before 10 is there */
    CHECK_EQ(lag_look(&lag, 500, 400, 4000), 1000); /* 400 was remembered at 3000 */
}

TEST("the lag is never less than it is, and at most twice as much and a look")
{
    struct lag lag;
    lag_init(&lag, 0);
    const uint64_t true_lag_ms = 30000;
    for (uint64_t now = 1000; now < 1000000; now += 1000) {
        /* The primary writes one byte per millisecond, the mirror is 30 s behind. */
        uint64_t confirmed = now > true_lag_ms ? now - true_lag_ms : 0;
        uint64_t seen = lag_look(&lag, now, confirmed, now);
        uint64_t really = now - confirmed;
        CHECK(seen >= really);
        CHECK(seen <= 2 * really + 1000);
    }
}

TEST("a slot without lag that falls behind later is measured from then")
{
    struct lag lag;
    lag_init(&lag, 0);
    CHECK_EQ(lag_look(&lag, 10, 10, 5000), 0);
    CHECK_EQ(lag_look(&lag, 20, 10, 6000), 1000);
    CHECK_EQ(lag_look(&lag, 20, 20, 7000), 0);
}

TEST("positions are read as PostgreSQL writes them")
{
    uint64_t at = 0;
    CHECK(lag_parse_lsn("16/B374D848", &at));
    CHECK_EQ(at, 0x16B374D848);
    CHECK(lag_parse_lsn("0/0", &at));
    CHECK_EQ(at, 0);
    CHECK(lag_parse_lsn("FFFFFFFF/FFFFFFFF", &at));
    CHECK_EQ(at, UINT64_MAX);
}

TEST("what is no position is refused")
{
    uint64_t at = 7;
    CHECK(!lag_parse_lsn("", &at));
    CHECK(!lag_parse_lsn("16", &at));
    CHECK(!lag_parse_lsn("16/", &at));
    CHECK(!lag_parse_lsn("/16", &at));
    CHECK(!lag_parse_lsn("16/B374D848x", &at));
    CHECK(!lag_parse_lsn("1FFFFFFFF/0", &at));
    CHECK_EQ(at, 7);
}
