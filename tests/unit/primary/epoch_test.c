#include "fs/volume/epoch_mark.h"

#include "fs/base/conf.h"
#include "tests/unit/check.h"

static struct epoch_mark mark(int64_t epoch, const char *system, int64_t timeline,
                              int64_t next_chunk)
{
    struct epoch_mark m = {.epoch = epoch, .timeline = timeline, .next_chunk = next_chunk};
    (void)snprintf(m.system_identifier, sizeof(m.system_identifier), "%s", system);
    return m;
}

static void check_refused(struct epoch_mark bucket, struct epoch_mark database, const char *why)
{
    struct err e = ERR_INIT;
    CHECK_RC(epoch_check(&bucket, &database, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, why);
    CHECK_CONTAINS(e.text, "--raise-epoch");
    CHECK_EQ(exit_code_of(&e), EXIT_FAILED);
}

static void check_accepted(struct epoch_mark bucket, struct epoch_mark database)
{
    struct err e = ERR_INIT;
    CHECK_OK(epoch_check(&bucket, &database, &e), &e);
}

TEST("a database that has only gone on is accepted")
{
    check_accepted(mark(0, "7", 1, 100), mark(0, "7", 1, 100));
    check_accepted(mark(0, "7", 1, 100), mark(0, "7", 1, 4196));
    check_accepted(mark(0, "7", 1, 100), mark(0, "7", 2, 100)); /* a standby took over */
}

TEST("a newer epoch is accepted wherever it lives")
{
    check_accepted(mark(1, "7", 3, 1L << 41), mark(2, "8", 1, 1L << 41));
}

TEST("a database that has forgotten something is refused")
{
    check_refused(mark(1, "7", 1, 100), mark(0, "7", 1, 200), "epoch is over");
    check_refused(mark(0, "7", 1, 100), mark(0, "7", 1, 99), "forgotten slice ids");
    check_refused(mark(0, "7", 2, 100), mark(0, "7", 1, 100), "older timeline");
}

TEST("a copy of the database in another cluster is refused although it counts on")
{
    check_refused(mark(0, "7", 1, 100), mark(0, "8", 1, 200), "another PostgreSQL cluster");
}

TEST("a mark reads back as it was written")
{
    struct err e = ERR_INIT;
    const struct epoch_mark written = mark(3, "7710906791324931426", 5, 3L << 40);
    struct epoch_mark read;
    auto_buf struct buf text;
    buf_init(&text, 4096);
    CHECK_OK(epoch_encode(&written, &text, &e), &e);
    CHECK_OK(epoch_decode(buf_bytes(&text), &read, &e), &e);
    CHECK_EQ(read.epoch, 3);
    CHECK_STR(read.system_identifier, "7710906791324931426");
    CHECK_EQ(read.timeline, 5);
    CHECK_EQ(read.next_chunk, 3L << 40);
}

TEST("a mark that is damaged is corrupt and never taken for an old one")
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"epoch\": 1}",
        "{\"epoch\":-1,\"system_identifier\":\"7\",\"timeline\":1,\"next_chunk\":1}",
        "{\"epoch\":0,\"system_identifier\":\"\",\"timeline\":1,\"next_chunk\":1}",
        "{\"epoch\":0,\"system_identifier\":\"7\",\"timeline\":1,\"next_chunk\":1",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e = ERR_INIT;
        struct epoch_mark read;
        const struct bytes text = {(const uint8_t *)bad[i], strlen(bad[i])};
        CHECK_RC(epoch_decode(text, &read, &e), RC_CORRUPT);
    }
}
