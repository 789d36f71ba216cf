#include "fs/mount/told.h"
#include "tests/unit/check.h"

static struct node_attr file(ino_num ino, uint64_t length)
{
    return (struct node_attr){.ino = ino, .type = NODE_FILE, .length = length};
}

static bool differs(struct told *t, ino_num ino, uint64_t length)
{
    struct node_attr attr = file(ino, length);
    return told_differs(t, &attr);
}

static void tell(struct told *t, ino_num ino, uint64_t length)
{
    struct node_attr attr = file(ino, length);
    told_attr(t, &attr);
}

static struct told *fresh(bool has_acls)
{
    struct told *t = NULL;
    struct err e = ERR_INIT;
    CHECK_RC(told_open(&t, 60000, has_acls, &e), RC_OK);
    return t;
}

TEST("a length that the kernel was told is not another one")
{
    struct told *t = fresh(false);
    tell(t, 7, 100);
    CHECK(!differs(t, 7, 100));
    CHECK(differs(t, 7, 101));
    CHECK(differs(t, 7, 99));
    tell(t, 7, 99);
    CHECK(!differs(t, 7, 99));
    told_close(&t);
}

TEST("a file that went to the trash since is another one until the kernel is told")
{
    struct told *t = fresh(false);
    struct node_attr attr = file(7, 100);
    attr.parent = 1;
    told_attr(t, &attr);
    attr.parent = 2; /* a rename is none of its business */
    CHECK(!told_differs(t, &attr));
    attr.parent = META_TRASH + 3;
    CHECK(told_differs(t, &attr));
    told_attr(t, &attr); /* it asked for the attributes, and still has the name */
    CHECK(told_differs(t, &attr));
    told_name(t, &attr);
    CHECK(!told_differs(t, &attr));
    told_close(&t);
}

TEST("what was never told, or pushed out, counts as another length")
{
    struct told *t = fresh(false);
    CHECK(differs(t, 7, 0));
    for (ino_num ino = 1; ino <= 1000000; ino++)
        tell(t, ino, ino);
    unsigned known = 0;
    for (ino_num ino = 1; ino <= 1000000; ino++)
        known += !differs(t, ino, ino);
    CHECK(known > 50000 && known <= 65536);
    told_close(&t);
}

TEST("the kernel's own writes only make a file longer")
{
    struct told *t = fresh(false);
    told_written(t, 7, 10);
    CHECK(differs(t, 7, 10));
    tell(t, 7, 100);
    told_written(t, 7, 50);
    CHECK(!differs(t, 7, 100));
    told_written(t, 7, 150);
    CHECK(!differs(t, 7, 150));
    told_close(&t);
}

TEST("directories are of no concern")
{
    struct told *t = fresh(false);
    struct node_attr dir = {.ino = 7, .type = NODE_DIRECTORY, .length = 4096};
    told_attr(t, &dir);
    CHECK(differs(t, 7, 4096));
    told_close(&t);
}

static void tell_acl(struct told *t, ino_num ino, time_t ctime, uint32_t access, uint32_t inherited)
{
    const struct node_attr dir = {.ino = ino,
                                  .type = NODE_DIRECTORY,
                                  .ctime = {.tv_sec = ctime},
                                  .access_acl = access,
                                  .default_acl = inherited};
    told_attr(t, &dir);
}

TEST("lists are known by number, and a late answer does not bring an old one back")
{
    struct told *t = fresh(true);
    uint32_t id = 99;
    CHECK(!told_acl(t, 7, ACL_ACCESS, &id));
    tell_acl(t, 7, 100, 0, 5);
    CHECK(told_acl(t, 7, ACL_ACCESS, &id) && id == 0);
    CHECK(told_acl(t, 7, ACL_DEFAULT, &id) && id == 5);
    tell_acl(t, 7, 101, 3, 5);
    tell_acl(t, 7, 100, 0, 5);
    CHECK(told_acl(t, 7, ACL_ACCESS, &id) && id == 3);
    told_close(&t);
}

TEST("lists are not known past the time for which the kernel believes attributes")
{
    struct told *t = NULL;
    struct err e = ERR_INIT;
    uint32_t id;
    CHECK_RC(told_open(&t, 0, true, &e), RC_OK);
    tell_acl(t, 7, 100, 1, 2);
    CHECK(!told_acl(t, 7, ACL_ACCESS, &id));
    told_close(&t);
}
