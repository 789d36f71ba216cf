#include "fs/vfs/keep.h"

#include "tests/unit/check.h"

static const struct keep_stamp stamp = {
    .ctime = {100, 5}, .mtime = {90, 7}, .length = 1234, .digest = {1, 2, 3}};

TEST("only an equal stamp matches")
{
    struct keep_table *t = keep_open();
    struct keep_stamp other;

    keep_put(t, 7, &stamp);
    CHECK(keep_matches(t, 7, &stamp));
    CHECK(!keep_matches(t, 8, &stamp));
    other = stamp;
    other.ctime.tv_nsec++;
    CHECK(!keep_matches(t, 7, &other));
    other = stamp;
    other.mtime.tv_sec++;
    CHECK(!keep_matches(t, 7, &other));
    other = stamp;
    other.length++;
    CHECK(!keep_matches(t, 7, &other));
    other = stamp;
    other.digest[15]++;
    CHECK(!keep_matches(t, 7, &other));
    keep_close(&t);
}

TEST("the latest stamp of an inode counts, and a removed one matches nothing")
{
    struct keep_table *t = keep_open();
    struct keep_stamp other = stamp;

    other.length = 99;
    keep_put(t, 7, &stamp);
    keep_put(t, 7, &other);
    CHECK(!keep_matches(t, 7, &stamp));
    CHECK(keep_matches(t, 7, &other));
    keep_remove(t, 7);
    CHECK(!keep_matches(t, 7, &other));
    keep_close(&t);
}

TEST("a full table forgets old inodes, never mixes them up")
{
    struct keep_table *t = keep_open();
    struct keep_stamp one = stamp;
    unsigned kept = 0;

    for (ino_num ino = 1; ino <= 300000; ino++) {
        one.length = ino;
        keep_put(t, ino, &one);
    }
    for (ino_num ino = 1; ino <= 300000; ino++) {
        one.length = ino;
        kept += keep_matches(t, ino, &one);
        one.length = ino + 1;
        CHECK(!keep_matches(t, ino, &one));
    }
    CHECK(kept > 30000 && kept <= 65536);
    one.length = 300000;
    CHECK(keep_matches(t, 300000, &one));
    keep_close(&t);
}
