#include "fs/meta/reply.h"

#include <errno.h>

#include "tests/unit/check.h"
#include "tests/unit/fs_meta/fake_result.h"

static const char *const names[] = {
    "err",    "ino",   "type",   "flags",      "mode",        "uid",       "gid",
    "atime",  "mtime", "ctime",  "atimensec",  "mtimensec",   "ctimensec", "nlink",
    "length", "rdev",  "parent", "access_acl", "default_acl", "tier",      "usage"};

/* A row of a regular file of 5 bytes. */
static struct pg_result *file_row(void)
{
    struct pg_result *r = fake_result(names, sizeof(names) / sizeof(names[0]));
    fake_set_int4(r, "err", 0);
    fake_set_int8(r, "ino", 77);
    fake_set_int4(r, "type", NODE_FILE);
    fake_set_int4(r, "mode", 0104644);
    fake_set_int8(r, "uid", 4294967294);
    fake_set_int8(r, "length", 5);
    return r;
}

static enum rc decode(const struct pg_result *r, struct node_attr *out, struct err *e)
{
    struct reply_columns columns;
    reply_columns(r, &columns);
    return reply_attr(r, 0, &columns, out, e);
}

TEST("a row becomes attributes; what is NULL reads as 0")
{
    auto_result struct pg_result *r = file_row();
    fake_set_int8(r, "atime", 1700000000123456);
    fake_set_int4(r, "atimensec", 789);
    struct node_attr a;
    struct err e = ERR_INIT;
    CHECK_OK(decode(r, &a, &e), &e);
    CHECK_EQ(a.ino, 77);
    CHECK_EQ(a.type, NODE_FILE);
    CHECK_EQ(a.mode, 04644);
    CHECK_EQ(a.uid, 4294967294);
    CHECK_EQ(a.length, 5);
    CHECK_EQ(a.parent, 0);
    CHECK_EQ(a.rdev, 0);
    CHECK_EQ(a.atime.tv_sec, 1700000000);
    CHECK_EQ(a.atime.tv_nsec, 123456789);
    CHECK_EQ(a.mtime.tv_sec, 0);
}

TEST("a time before 1970 keeps its nanoseconds positive")
{
    auto_result struct pg_result *r = file_row();
    fake_set_int8(r, "mtime", -1);
    fake_set_int4(r, "mtimensec", 5);
    struct node_attr a;
    struct err e = ERR_INIT;
    CHECK_OK(decode(r, &a, &e), &e);
    CHECK_EQ(a.mtime.tv_sec, -1);
    CHECK_EQ(a.mtime.tv_nsec, 999999005);
}

TEST("attributes that the format does not know are corrupt")
{
    struct node_attr a;
    struct err e = ERR_INIT;
    static const int32_t types[] = {0, 8, -1};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        auto_result struct pg_result *r = file_row();
        fake_set_int4(r, "type", types[i]);
        CHECK_RC(decode(r, &a, &e), RC_CORRUPT);
    }
    auto_result struct pg_result *no_inode = file_row();
    fake_set_int8(no_inode, "ino", 0);
    CHECK_RC(decode(no_inode, &a, &e), RC_CORRUPT);
    auto_result struct pg_result *negative = file_row();
    fake_set_int8(negative, "length", -1);
    CHECK_RC(decode(negative, &a, &e), RC_CORRUPT);
}

TEST("an errno in the row is a refusal that names verb and inode")
{
    auto_result struct pg_result *r = file_row();
    struct err e = ERR_INIT;
    CHECK_OK(reply_check(r, "unlink", 1, &e), &e);
    fake_set_int4(r, "err", ENOTEMPTY);
    CHECK_RC(reply_check(r, "rmdir", 12, &e), RC_REFUSED);
    CHECK_EQ(e.posix, ENOTEMPTY);
    CHECK_CONTAINS(e.text, "rmdir of inode 12");
}
