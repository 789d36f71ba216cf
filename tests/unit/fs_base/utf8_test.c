#include "fs/base/utf8.h"

#include "tests/unit/check.h"

TEST("well-formed sequences have their length")
{
    CHECK_EQ(utf8_sequence("a", 1), 1);
    CHECK_EQ(utf8_sequence("\xC3\xA9", 2), 2);
    CHECK_EQ(utf8_sequence("\xE2\x82\xAC", 3), 3);
    CHECK_EQ(utf8_sequence("\xF0\x9F\x98\x80", 4), 4);
    CHECK_EQ(utf8_sequence("\xF4\x8F\xBF\xBF", 4), 4);
}

TEST("overlong forms, surrogates, numbers past the end and cut sequences are none")
{
    CHECK_EQ(utf8_sequence("", 0), 0);
    CHECK_EQ(utf8_sequence("\x80", 1), 0);
    CHECK_EQ(utf8_sequence("\xC0\xAF", 2), 0);
    CHECK_EQ(utf8_sequence("\xE0\x80\x80", 3), 0);
    CHECK_EQ(utf8_sequence("\xED\xA0\x80", 3), 0);
    CHECK_EQ(utf8_sequence("\xF4\x90\x80\x80", 4), 0);
    CHECK_EQ(utf8_sequence("\xF5\x80\x80\x80", 4), 0);
    CHECK_EQ(utf8_sequence("\xE2\x82\xAC", 2), 0);
    CHECK_EQ(utf8_sequence("\xE2\x28\xA1", 3), 0);
}
