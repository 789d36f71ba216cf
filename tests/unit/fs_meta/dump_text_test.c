#include <string.h>

#include "fs/meta/dump.h"
#include "tests/unit/check.h"

static void check_escape(struct bytes raw, const char *escaped)
{
    struct err e = ERR_INIT;
    auto_buf struct buf text, back;
    const char *is;
    buf_init(&text, 1 << 16);
    buf_init(&back, 1 << 16);
    CHECK_OK(dump_escape(raw, &text, &e), &e);
    CHECK_OK(buf_cstr(&text, &is, &e), &e);
    CHECK_STR(is, escaped);
    CHECK_OK(dump_unescape(buf_bytes(&text), &back, &e), &e);
    CHECK_EQ(back.size, raw.size);
    CHECK(memcmp(back.data, raw.data, raw.size) == 0);
}

TEST("what JSON or a reader of lines would stumble over is escaped, and comes back")
{
    check_escape(BYTES_OF("plain-name_1.txt"), "plain-name_1.txt");
    check_escape(BYTES_OF("a b\t\n\"\\%"), "a%20b%09%0A%22%5C%25");
    check_escape(BYTES_OF("gr\xC3\xB6\xC3\x9F"
                          "e"),
                 "gr\xC3\xB6\xC3\x9F"
                 "e");
    check_escape(BYTES_OF("\xFF\xC3("), "%FF%C3(");
    check_escape(BYTES_OF("\xED\xA0\x80"), "%ED%A0%80");
    check_escape(BYTES_OF("\xEF\xBF\xBD"), "\xEF\xBF\xBD");
    check_escape(BYTES_OF("%41"), "%2541");
}

TEST("every byte comes back")
{
    uint8_t all[256];
    struct err e = ERR_INIT;
    auto_buf struct buf text, back;
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    buf_init(&text, 1 << 16);
    buf_init(&back, 1 << 16);
    CHECK_OK(dump_escape((struct bytes){all, sizeof(all)}, &text, &e), &e);
    CHECK_OK(dump_unescape(buf_bytes(&text), &back, &e), &e);
    CHECK_EQ(back.size, sizeof(all));
    CHECK(memcmp(back.data, all, sizeof(all)) == 0);
}

TEST("a percent sign that no two digits follow is itself")
{
    struct err e = ERR_INIT;
    auto_buf struct buf back;
    const char *is;
    buf_init(&back, 1 << 16);
    CHECK_OK(dump_unescape(BYTES_OF("100%|%4|%zz|%4a|%"), &back, &e), &e);
    CHECK_OK(buf_cstr(&back, &is, &e), &e);
    CHECK_STR(is, "100%|%4|%zz|%4a|%");
}
