#include "mirror/drain.h"

#include "tests/unit/check.h"

TEST("nobody knows when before the second look")
{
    struct drain d = {.has_look = false};
    drain_look(&d, 1000, 5000);
    CHECK(!d.has_rate && drain_eta_s(&d) < 0);
    drain_look(&d, 900, 5100); /* too soon to say anything */
    CHECK(!d.has_rate);
    drain_look(&d, 600, 7000);
    CHECK(d.has_rate && d.per_s == 200 && drain_eta_s(&d) == 3);
}

TEST("a lag that grows has no end in sight, and one that is gone is over")
{
    struct drain d = {.has_look = false};
    drain_look(&d, 1000, 0);
    drain_look(&d, 3000, 1000);
    CHECK(d.per_s == -2000 && drain_eta_s(&d) < 0);
    drain_look(&d, 0, 2000);
    CHECK(drain_eta_s(&d) == 0);
}

TEST("a rate is smoothed, and an old one forgotten")
{
    struct drain d = {.has_look = false};
    drain_look(&d, 10000, 0);
    drain_look(&d, 9000, 1000);
    drain_look(&d, 9000, 2000);
    CHECK(d.per_s > 900 && d.per_s < 1000);
    drain_look(&d, 6000, 62000);
    CHECK(d.per_s == 50);
}
