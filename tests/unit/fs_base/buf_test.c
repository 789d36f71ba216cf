#include "fs/base/buf.h"

#include "tests/unit/check.h"

TEST("a buffer never grows past its maximum and is unchanged by what did not fit")
{
    struct err e;
    auto_buf struct buf b;
    buf_init(&b, 10);
    CHECK_OK(buf_add(&b, "0123456789", 10, &e), &e);
    CHECK_RC(buf_add(&b, "x", 1, &e), RC_NO_SPACE);
    CHECK_RC(buf_addf(&b, &e, "%d", 1), RC_NO_SPACE);
    CHECK_BYTES(b.data, b.size, "0123456789", 10);
}

TEST("a length that would overflow is refused, not wrapped")
{
    struct err e;
    auto_buf struct buf b;
    buf_init(&b, SIZE_MAX - 1);
    CHECK_OK(buf_add(&b, "abc", 3, &e), &e);
    CHECK_RC(buf_reserve(&b, SIZE_MAX - 2, &e), RC_NO_SPACE);
    CHECK_EQ(b.size, 3);
}

TEST("formatted text may fill a buffer to its last byte")
{
    struct err e;
    const char *text = NULL;
    auto_buf struct buf b;
    buf_init(&b, 8);
    CHECK_OK(buf_addf(&b, &e, "%s-%d", "abc", 1234), &e);
    CHECK_EQ(b.size, 8);
    CHECK_OK(buf_cstr(&b, &text, &e), &e);
    CHECK_STR(text, "abc-1234");
    CHECK_EQ(b.size, 8);
}

TEST("formatted text grows over many additions and keeps what was there")
{
    struct err e;
    const char *text = NULL;
    auto_buf struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 10000; i++)
        CHECK_OK(buf_addf(&b, &e, "%04d", i), &e);
    CHECK_EQ(b.size, 40000);
    CHECK_OK(buf_cstr(&b, &text, &e), &e);
    CHECK(strncmp(text, "000000010002", 12) == 0);
    CHECK_STR(text + 39992, "99989999");
}

TEST("an empty buffer is an empty string, and can be used again after deinit")
{
    struct err e;
    const char *text = NULL;
    struct buf b;
    buf_init(&b, 100);
    CHECK_OK(buf_cstr(&b, &text, &e), &e);
    CHECK_STR(text, "");
    buf_deinit(&b);
    CHECK_OK(buf_add_str(&b, "again", &e), &e);
    CHECK_EQ(b.size, 5);
    buf_clear(&b);
    CHECK_EQ(b.size, 0);
    buf_deinit(&b);
    buf_deinit(&b);
}
