#include "fs/vfs/recent.h"

#include <string.h>

#include "tests/unit/check.h"

static struct bytes text(const char *name)
{
    return (struct bytes){(const uint8_t *)name, strlen(name)};
}

static struct recent *opened(void)
{
    struct recent *r;
    struct err e = ERR_INIT;
    CHECK_OK(recent_open(&r, &e), &e);
    return r;
}

TEST("who asked before a change knows less, who asks after it does not")
{
    struct recent *r = opened();
    const uint64_t before = recent_asking(r);
    recent_inode(r, 7);
    const uint64_t after = recent_asking(r);
    CHECK(recent_has(r, before, 7));
    CHECK(!recent_has(r, after, 7));
    recent_inode(r, 7);
    CHECK(recent_has(r, after, 7));
    recent_close(&r);
}

TEST("a change is that of one inode, and of one name in one directory")
{
    struct recent *r = opened();
    const uint64_t before = recent_asking(r);
    recent_inode(r, 7);
    recent_name(r, 1, text("a"));
    CHECK(!recent_has(r, before, 8));
    CHECK(recent_has_name(r, before, 1, text("a")));
    CHECK(!recent_has_name(r, before, 1, text("b")));
    CHECK(!recent_has_name(r, before, 2, text("a")));
    recent_close(&r);
}

TEST("an older change does not hide a later one in the same place")
{
    struct recent *r = opened();
    /* Far more inodes than places: each place has been written many times. */
    for (ino_num ino = 1; ino <= 100000; ino++) {
        const uint64_t before = recent_asking(r);
        recent_inode(r, ino);
        CHECK(recent_has(r, before, ino));
        CHECK(!recent_has(r, recent_asking(r), ino));
    }
    recent_close(&r);
}
