#include "fs/vfs/dirs.h"

#include "fs/base/clock.h"
#include "tests/unit/check.h"

#define FOREVER_MS 3600000

static const struct node_attr directory = {.ino = 7,
                                           .type = NODE_DIRECTORY,
                                           .mode = 0755,
                                           .nlink = 2,
                                           .mtime = {100, 0},
                                           .ctime = {100, 0}};
static const struct timespec later = {100, 500000000};

static struct dirs *dirs_that_know(uint64_t valid_ms)
{
    struct dirs *d;
    struct err e = ERR_INIT;
    CHECK_OK(dirs_open(&d, valid_ms, &e), &e);
    dirs_learn(d, dirs_asking(d), &directory);
    return d;
}

static bool owed(struct dirs *d, struct node_attr *out)
{
    uint64_t valid_ms;
    return dirs_owed(d, 7, out, &valid_ms) && valid_ms <= FOREVER_MS;
}

TEST("nothing is owed before a change, and one answer after each")
{
    struct dirs *d = dirs_that_know(FOREVER_MS);
    struct node_attr attr;
    CHECK(!owed(d, &attr));
    for (int i = 1; i <= 2; i++) {
        dirs_begin(d, 7);
        dirs_changed(d, 7, (struct timespec){100 + i, 0}, 1);
        CHECK(owed(d, &attr));
        CHECK_EQ(attr.mtime.tv_sec, 100 + i);
        CHECK_EQ(attr.ctime.tv_sec, 100 + i);
        CHECK_EQ(attr.nlink, 2 + (unsigned)i);
        CHECK_EQ(attr.mode, 0755);
        CHECK(!owed(d, &attr));
    }
    dirs_close(&d);
}

TEST("times younger than 100 ms are left alone, unless a sub-directory came or went")
{
    struct dirs *d = dirs_that_know(FOREVER_MS);
    struct node_attr attr;
    dirs_begin(d, 7);
    dirs_changed(d, 7, (struct timespec){100, 99999000}, 0);
    CHECK(owed(d, &attr));
    CHECK_EQ(attr.mtime.tv_nsec, 0);
    dirs_begin(d, 7);
    dirs_changed(d, 7, (struct timespec){100, 99999000}, -1);
    CHECK(owed(d, &attr));
    CHECK_EQ(attr.mtime.tv_nsec, 99999000);
    CHECK_EQ(attr.nlink, 1);
    dirs_close(&d);
}

TEST("the time of a change grows with every change, also from one by a clock that was ahead")
{
    const struct node_attr ahead = {
        .ino = 7, .type = NODE_DIRECTORY, .nlink = 2, .mtime = {100, 0}, .ctime = {200, 999999000}};
    struct dirs *d;
    struct err e = ERR_INIT;
    struct node_attr attr;
    CHECK_OK(dirs_open(&d, FOREVER_MS, &e), &e);
    dirs_learn(d, dirs_asking(d), &ahead);
    dirs_begin(d, 7);
    dirs_changed(d, 7, (struct timespec){150, 0}, 1);
    CHECK(owed(d, &attr));
    CHECK_EQ(attr.mtime.tv_sec, 150);
    CHECK_EQ(attr.ctime.tv_sec, 201);
    CHECK_EQ(attr.ctime.tv_nsec, 0);
    dirs_close(&d);
}

TEST("an answer that a change may have overtaken is not kept")
{
    struct dirs *d;
    struct err e = ERR_INIT;
    struct node_attr attr;
    CHECK_OK(dirs_open(&d, FOREVER_MS, &e), &e);

    uint64_t asking = dirs_asking(d);
    dirs_begin(d, 7);
    dirs_learn(d, dirs_asking(d), &directory); /* asked while it was on its way */
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));
    dirs_learn(d, asking, &directory); /* asked before it */
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));
    dirs_close(&d);
}

TEST("what a change did must be known: else, or when the clocks disagree, all is forgotten")
{
    struct node_attr attr;
    struct dirs *d = dirs_that_know(FOREVER_MS);
    dirs_begin(d, 7);
    dirs_forget(d, 7);
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));

    dirs_learn(d, dirs_asking(d), &directory);
    dirs_begin(d, 7);
    dirs_changed(d, 7, (struct timespec){99, 0}, 0);
    CHECK(!owed(d, &attr));

    dirs_learn(d, dirs_asking(d), &directory);
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    dirs_clear(d);
    CHECK(!owed(d, &attr));
    dirs_close(&d);
}

TEST("a refused change leaves what is known, and owes nothing")
{
    struct dirs *d = dirs_that_know(FOREVER_MS);
    struct node_attr attr;
    dirs_begin(d, 7);
    dirs_unchanged(d, 7);
    CHECK(!owed(d, &attr));
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(owed(d, &attr));
    dirs_close(&d);
}

TEST("an answer is believed from when it came, however often changes follow")
{
    struct dirs *d = dirs_that_know(20);
    struct node_attr attr;
    uint64_t valid_ms;
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!dirs_owed(d, 7, &attr, &valid_ms) || valid_ms <= 20);
    clock_sleep_until(clock_deadline(20));
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));
    dirs_close(&d);
}

TEST("with a timeout of 0, and of files, nothing is kept")
{
    struct dirs *d = dirs_that_know(0);
    struct node_attr attr, file = directory;
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));
    dirs_close(&d);

    struct err e = ERR_INIT;
    CHECK_OK(dirs_open(&d, FOREVER_MS, &e), &e);
    file.type = NODE_FILE;
    dirs_learn(d, dirs_asking(d), &file);
    dirs_begin(d, 7);
    dirs_changed(d, 7, later, 0);
    CHECK(!owed(d, &attr));
    dirs_close(&d);
}
