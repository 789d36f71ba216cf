#include "mirror/state.h"

#include "tests/unit/check.h"

static const struct mirror_sight healthy = {
    .has_subscription = true,
    .is_enabled = true,
    .has_worker = true,
    .is_ready = true,
    .tables_total = 23,
    .tables_ready = 23,
    .silence_ms = 900,
    .knows_slot = true,
    .slot = "reserved",
};

static void check_next(enum mirror_state from, struct mirror_sight sight, enum mirror_state to,
                       const char *why)
{
    char text[MIRROR_WHY_MAX];
    enum mirror_state next = mirror_state_next(from, &sight, text);
    CHECK_STR(mirror_state_name(next), mirror_state_name(to));
    CHECK_CONTAINS(text, why);
}

TEST("a mirror is JOINING until there is a subscription")
{
    struct mirror_sight s = {.is_ready = false};
    check_next(MIRROR_JOINING, s, MIRROR_JOINING, "tarn mirror join");
}

TEST("a mirror is COPYING until its marker has arrived, however many tables are there")
{
    struct mirror_sight s = healthy;
    s.is_ready = false;
    check_next(MIRROR_COPYING, s, MIRROR_COPYING, "23 of 23");
    s.tables_ready = 3;
    check_next(MIRROR_JOINING, s, MIRROR_COPYING, "3 of 23");
    s.errors = s.errors_new = 2;
    check_next(MIRROR_COPYING, s, MIRROR_COPYING, "2 errors");
}

TEST("a mirror with fresh heartbeats is FOLLOWING, without a complaint")
{
    char why[MIRROR_WHY_MAX] = "old";
    CHECK_EQ(mirror_state_next(MIRROR_STALLED, &healthy, why), MIRROR_FOLLOWING);
    CHECK_STR(why, "");
}

TEST("whatever stops commits from arriving makes it STALLED and is named")
{
    struct mirror_sight s = healthy;
    s.silence_ms = MIRROR_STALL_MS + 1;
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "agent is away");
    s.has_worker = false;
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "primary is away");
    s = healthy;
    s.errors = 9;
    s.errors_new = 1;
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "9 errors");
    s = healthy;
    s.is_enabled = false;
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "disabled");
    s.has_subscription = false;
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "gone");
}

TEST("old errors do not stall a mirror that follows")
{
    struct mirror_sight s = healthy;
    s.errors = 100;
    check_next(MIRROR_FOLLOWING, s, MIRROR_FOLLOWING, "");
}

TEST("a slot that is gone or lost means LOST from every state")
{
    static const enum mirror_state states[] = {MIRROR_JOINING, MIRROR_COPYING, MIRROR_FOLLOWING,
                                               MIRROR_STALLED};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct mirror_sight s = healthy;
        s.slot = "lost";
        check_next(states[i], s, MIRROR_LOST, "lost");
        s.slot = NULL;
        check_next(states[i], s, MIRROR_LOST, "gone");
    }
}

TEST("a primary that does not answer proves nothing about the slot")
{
    struct mirror_sight s = healthy;
    s.slot = NULL;
    s.knows_slot = false;
    check_next(MIRROR_FOLLOWING, s, MIRROR_FOLLOWING, "");
}

TEST("LOST and LEFT are not left by anything that is seen")
{
    check_next(MIRROR_LOST, healthy, MIRROR_LOST, "");
    check_next(MIRROR_LEFT, healthy, MIRROR_LEFT, "");
}

TEST("each state is known by its name")
{
    for (int i = MIRROR_JOINING; i <= MIRROR_LEFT; i++)
        CHECK_EQ(mirror_state_parse(mirror_state_name((enum mirror_state)i)), i);
}

TEST("what speaks against the copy makes it LOST in its own words")
{
    struct mirror_sight s = healthy;
    s.lost_by = "went_back";
    s.lost_why = "the primary was restored";
    check_next(MIRROR_FOLLOWING, s, MIRROR_LOST, "was restored");
    check_next(MIRROR_STALLED, s, MIRROR_LOST, "was restored");
}

TEST("a slot that is gone outweighs deletions that did not wait, but not another primary")
{
    struct mirror_sight s = healthy;
    s.lost_by = "given_up";
    s.lost_why = "deletions did not wait";
    CHECK_STR(mirror_lost_by(&s), "given_up");
    s.slot = NULL;
    CHECK_STR(mirror_lost_by(&s), "slot");
    check_next(MIRROR_FOLLOWING, s, MIRROR_LOST, "slot at the primary is gone");
    s.lost_by = "went_back";
    CHECK_STR(mirror_lost_by(&s), "went_back");
    CHECK(mirror_lost_by(&healthy) == NULL);
}

TEST("a mirror that is copied anew, or was promoted, leaves that by other hands")
{
    struct mirror_sight s = healthy;
    check_next(MIRROR_REJOINING, s, MIRROR_REJOINING, "");
    check_next(MIRROR_PROMOTED, s, MIRROR_PROMOTED, "");
    s.slot = NULL;
    check_next(MIRROR_REJOINING, s, MIRROR_REJOINING, "");
}

TEST("an error of apply is shown as PostgreSQL says it")
{
    struct mirror_sight s = healthy;
    s.errors = s.errors_new = 1;
    s.apply_error = "duplicate key; Key (inode)=(5) already exists.";
    check_next(MIRROR_FOLLOWING, s, MIRROR_STALLED, "Key (inode)=(5)");
}
