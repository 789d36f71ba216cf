#include "fs/meta/freshness.h"

#include <string.h>

#include "fs/meta/handle.h"
#include "tests/unit/check.h"

static struct freshness f;

static struct fresh_want want_now(void)
{
    struct fresh_want want;
    struct err e = ERR_INIT;
    CHECK_OK(freshness_want(&f, NULL, 0, &want, &e), &e);
    return want;
}

TEST("who has done nothing is owed nothing")
{
    freshness_init(&f, FRESH_SESSION);
    CHECK(!freshness_owes(&f));
    freshness_deinit(&f);
}

TEST("an answered operation is owed until it has been shown")
{
    freshness_init(&f, FRESH_SESSION);
    freshness_answered(&f, 5, 1, 7);
    CHECK(freshness_owes(&f));
    const struct fresh_want want = want_now();
    CHECK_EQ(want.sid, 5);
    CHECK_EQ(want.count, 1);
    CHECK_EQ(want.lanes[0], 1);
    CHECK_EQ(want.ops[0], 7);
    CHECK_EQ(want.mark_value, 0);
    freshness_shown(&f, &want);
    CHECK(!freshness_owes(&f));
    freshness_deinit(&f);
}

TEST("what is answered while a read is on its way stays owed")
{
    freshness_init(&f, FRESH_SESSION);
    freshness_answered(&f, 5, 1, 7);
    freshness_answered(&f, 5, 2, 1);
    const struct fresh_want want = want_now();
    freshness_answered(&f, 5, 1, 8);
    freshness_shown(&f, &want);
    const struct fresh_want rest = want_now();
    CHECK_EQ(rest.count, 1);
    CHECK_EQ(rest.lanes[0], 1);
    CHECK_EQ(rest.ops[0], 8);
    freshness_deinit(&f);
}

TEST("slots of a session that is over are not waited for: a barrier stands for them")
{
    freshness_init(&f, FRESH_SESSION);
    freshness_answered(&f, 5, 1, 7);
    freshness_answered(&f, 6, 1, 1);
    CHECK_EQ(f.debt_count, 1);
    CHECK_EQ(f.needed, 1);
    freshness_answered(&f, 5, 2, 3); /* late */
    CHECK_EQ(f.debt_count, 1);
    CHECK_EQ(f.sid, 6);
    freshness_deinit(&f);
}

TEST("more lanes than there is room for are owed as one barrier")
{
    freshness_init(&f, FRESH_SESSION);
    for (int32_t lane = 1; lane <= FRESH_LANES + 1; lane++)
        freshness_answered(&f, 5, lane, 1);
    CHECK_EQ(f.debt_count, 0);
    CHECK_EQ(f.needed, 1);
    CHECK(freshness_owes(&f));
    freshness_deinit(&f);
}

TEST("a barrier that was sent before a look at the primary does not prove what was seen there")
{
    freshness_init(&f, FRESH_SESSION);
    f.sent = f.done = 3;
    f.value = f.shown = 9;
    freshness_asked(&f);
    CHECK_EQ(f.needed, 4);
    CHECK(freshness_owes(&f));
    freshness_deinit(&f);
}

TEST("eventual reads owe nothing whatever was done, strict ones always do")
{
    freshness_init(&f, FRESH_EVENTUAL);
    freshness_answered(&f, 5, 1, 7);
    CHECK(!freshness_owes(&f));
    freshness_deinit(&f);
    freshness_init(&f, FRESH_STRICT);
    CHECK(freshness_owes(&f));
    freshness_deinit(&f);
}

TEST("who fell behind asks elsewhere, until a read has shown all there is")
{
    freshness_init(&f, FRESH_SESSION);
    CHECK(!freshness_is_behind(&f));
    freshness_fell_behind(&f);
    CHECK(freshness_is_behind(&f));
    const struct fresh_want nothing = {.count = 0};
    freshness_shown(&f, &nothing);
    CHECK(!freshness_is_behind(&f));
    freshness_deinit(&f);
}

TEST("a text is wrapped once, with its own parameters in front")
{
    static const char sql[] = "SELECT * FROM tarn_1.lookup($1,$2)";
    const char *once = NULL, *again = NULL;
    struct err e = ERR_INIT;
    freshness_init(&f, FRESH_SESSION);
    CHECK_OK(freshness_wrap(&f, sql, 2, &once, &e), &e);
    CHECK_OK(freshness_wrap(&f, sql, 2, &again, &e), &e);
    CHECK(once == again);
    CHECK(strstr(once, "is_here($3,$4,$5,$6,$7)") != NULL);
    CHECK(strstr(once, sql) != NULL);
    freshness_deinit(&f);
}
