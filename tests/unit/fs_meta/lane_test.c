#include "fs/meta/lane.h"

#include "fs/base/clock.h"
#include "tests/unit/check.h"

TEST("without a session no lane can be used")
{
    struct lane_session session;
    struct lane lane = {.sid = 0};
    struct err e = ERR_INIT;
    lane_session_init(&session);
    CHECK_RC(lane_settle(&lane, &session, &e), RC_DENIED);
    lane_session_deinit(&session);
}

TEST("lanes of a session have numbers of their own, which a settled lane keeps")
{
    struct lane_session session;
    struct lane a = {.sid = 0}, b = {.sid = 0};
    struct err e = ERR_INIT;
    lane_session_init(&session);
    lane_session_set(&session, 5, 0);
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    CHECK_OK(lane_settle(&b, &session, &e), &e);
    CHECK(a.number != b.number);
    const int32_t number = a.number;
    a.op = 17;
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    CHECK_EQ(a.number, number);
    CHECK_EQ(a.op, 17);
    lane_session_deinit(&session);
}

TEST("an uncertain lane gives up its number for one that was never used")
{
    struct lane_session session;
    struct lane a = {.sid = 0}, b = {.sid = 0};
    struct err e = ERR_INIT;
    lane_session_init(&session);
    lane_session_set(&session, 5, 0);
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    CHECK_OK(lane_settle(&b, &session, &e), &e);
    a.op = 3;
    a.is_uncertain = true;
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    CHECK_EQ(a.number, 3);
    CHECK_EQ(a.op, 0);
    CHECK(!a.is_uncertain);
    lane_session_deinit(&session);
}

TEST("a lost session refuses until another begins, where lanes start anew")
{
    struct lane_session session;
    struct lane a = {.sid = 0};
    struct err e = ERR_INIT;
    lane_session_init(&session);
    lane_session_set(&session, 5, 0);
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    lane_session_lose(&session, 4); /* word about an older session comes late */
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    lane_session_lose(&session, 5);
    CHECK(lane_session_is_lost(&session));
    CHECK_RC(lane_settle(&a, &session, &e), RC_STALE);
    lane_session_set(&session, 6, 0);
    a.op = 9;
    CHECK_OK(lane_settle(&a, &session, &e), &e);
    CHECK_EQ(a.sid, 6);
    CHECK_EQ(a.op, 0);
    lane_session_deinit(&session);
}

TEST("lanes are taken in order, so that few are used, until a deadline passes without a free one")
{
    struct lane_pool pool;
    struct lane *taken[LANES], *late;
    struct err e = ERR_INIT;
    lane_pool_init(&pool);
    for (int i = 0; i < LANES; i++) {
        CHECK_OK(lane_take(&pool, clock_ms(), &taken[i], &e), &e);
        CHECK(taken[i] == &pool.lanes[i]);
    }
    CHECK_RC(lane_take(&pool, clock_deadline(10), &late, &e), RC_UNAVAILABLE);
    lane_give(&pool, taken[9]);
    lane_give(&pool, taken[3]);
    CHECK_OK(lane_take(&pool, clock_ms(), &late, &e), &e);
    CHECK(late == taken[3]);
    lane_pool_deinit(&pool);
}

TEST("what a session refused may be sent again only in the one that followed it")
{
    struct lane_session session;
    lane_session_init(&session);
    lane_session_set(&session, 5, 0);
    CHECK(!lane_session_follows(&session, 5));
    lane_session_follow(&session, 9, 1);
    CHECK(lane_session_follows(&session, 5));
    CHECK_EQ(lane_session_id(&session), 9);
    CHECK_EQ(lane_session_epoch(&session), 1);
    lane_session_lose(&session, 9);
    lane_session_set(&session, 10, 1);
    CHECK(!lane_session_follows(&session, 9));
    CHECK(!lane_session_follows(&session, 5));
    lane_session_deinit(&session);
}
