#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/store/layers.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

static uint64_t soon(void)
{
    return clock_deadline(60000);
}

static unsigned entries(const char *directory)
{
    unsigned count = 0;
    DIR *dir = opendir(directory);
    CHECK(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(dir);
    return count;
}

TEST("what was put is got back, whole and by ranges")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    auto_buf struct buf out;
    buf_init(&out, 100);
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "a/b/c", "0123456789"), RC_OK);
    CHECK(scratch_holds(s, "a/b/c", "0123456789"));
    CHECK_OK(store_get(s, "a/b/c", 3, 4, &out, soon(), &e), &e);
    CHECK_OK(store_get(s, "a/b/c", 8, STORE_TO_END, &out, soon(), &e), &e);
    CHECK(out.size == 6 && memcmp(out.data, "345689", 6) == 0);
    CHECK_OK(store_get(s, "a/b/c", 10, STORE_TO_END, &out, soon(), &e), &e);
    CHECK(out.size == 6);
    store_close(&s);
    CHECK(s == NULL);
}

TEST("an object that ends before what was asked for is corrupt, and out stays as it was")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    auto_buf struct buf out;
    buf_init(&out, 100);
    struct err e = ERR_INIT;
    CHECK_OK(buf_add(&out, "kept", 4, &e), &e);
    CHECK_RC(scratch_put(s, "k", "0123456789"), RC_OK);
    CHECK_RC(store_get(s, "k", 5, 6, &out, soon(), &e), RC_CORRUPT);
    CHECK_RC(store_get(s, "k", 11, STORE_TO_END, &out, soon(), &e), RC_CORRUPT);
    CHECK_RC(store_get(s, "k", UINT64_MAX - 1, 5, &out, soon(), &e), RC_CORRUPT);
    CHECK(out.size == 4);
    store_close(&s);
}

TEST("an object larger than the buffer may hold is corrupt")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    auto_buf struct buf out;
    buf_init(&out, 9);
    CHECK_RC(scratch_put(s, "k", "0123456789"), RC_OK);
    CHECK(scratch_get(s, "k", &out) == RC_CORRUPT);
    CHECK(out.capacity == 0);
    store_close(&s);
}

TEST("an empty object is an object")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct store_object object;
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "empty", ""), RC_OK);
    CHECK(scratch_holds(s, "empty", ""));
    CHECK_OK(store_head(s, "empty", &object, soon(), &e), &e);
    CHECK(object.size == 0 && object.mtime_s > 0 && strcmp(object.key, "empty") == 0);
    store_close(&s);
}

TEST("what is not there is not found, and removing it is fine")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct store_object object;
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "d/x", "1"), RC_OK);
    CHECK_RC(store_head(s, "d/y", &object, soon(), &e), RC_NOT_FOUND);
    CHECK_RC(store_head(s, "d", &object, soon(), &e), RC_NOT_FOUND);
    CHECK_RC(store_head(s, "d/x/z", &object, soon(), &e), RC_NOT_FOUND);
    CHECK_OK(store_remove(s, "d/y", soon(), &e), &e);
    CHECK_OK(store_remove(s, "d/x", soon(), &e), &e);
    CHECK_RC(store_head(s, "d/x", &object, soon(), &e), RC_NOT_FOUND);
    store_close(&s);
}

TEST("a second put replaces the first and leaves nothing else behind")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    CHECK_RC(scratch_put(s, "k", "first"), RC_OK);
    CHECK_RC(scratch_put(s, "k", "second, longer"), RC_OK);
    CHECK(scratch_holds(s, "k", "second, longer"));
    CHECK(entries(directory) == 1);
    store_close(&s);
}

TEST("keys that could leave the bucket or hide in it are refused")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    static const char *const wrong[] = {"",    "/a",    "a/",          "a//b",         ".",
                                        "..",  "../a",  "a/../b",      "a/..",         "./a",
                                        "a/.", "a/./b", ".tarn-put.1", "a/.tarn-put.x"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        CHECK_RC(scratch_put(s, wrong[i], "x"), RC_INVALID);
    char longest[STORE_KEY_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    longest[STORE_KEY_MAX] = 0;
    CHECK_RC(scratch_put(s, longest, "x"), RC_INVALID);
    CHECK(entries(directory) == 0);
    CHECK_RC(scratch_put(s, "..a/b..", "x"), RC_OK);
    CHECK_RC(scratch_put(s, ".a/...", "x"), RC_OK);
    store_close(&s);
}

TEST("a call whose deadline has passed does nothing")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct err e = ERR_INIT;
    CHECK_RC(store_put(s, "k", BYTES_OF("x"), clock_ms(), &e), RC_TIMEOUT);
    CHECK(entries(directory) == 0);
    store_close(&s);
}

TEST("a bucket that is moved away is unavailable, is not made again, and works when it is back")
{
    char directory[SCRATCH_PATH], away[SCRATCH_PATH + 8];
    struct store *s = scratch_store(directory);
    struct store_object object;
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "a/b", "x"), RC_OK);
    (void)snprintf(away, sizeof(away), "%s.away", directory);
    CHECK(rename(directory, away) == 0);

    auto_buf struct buf out;
    buf_init(&out, 100);
    CHECK(scratch_get(s, "a/b", &out) == RC_UNAVAILABLE);
    CHECK_RC(store_head(s, "a/b", &object, soon(), &e), RC_UNAVAILABLE);
    CHECK_RC(scratch_put(s, "a/c", "y"), RC_UNAVAILABLE);
    CHECK_RC(store_remove(s, "a/b", soon(), &e), RC_UNAVAILABLE);
    CHECK(access(directory, F_OK) == -1);

    CHECK(mkdir(directory, 0755) == 0);
    CHECK_RC(scratch_put(s, "a/c", "y"), RC_UNAVAILABLE);
    CHECK(scratch_get(s, "a/b", &out) == RC_UNAVAILABLE);
    CHECK(entries(directory) == 0);
    CHECK(rmdir(directory) == 0);

    CHECK(rename(away, directory) == 0);
    CHECK_RC(scratch_put(s, "a/c", "y"), RC_OK);
    CHECK(scratch_holds(s, "a/b", "x"));
    store_close(&s);
}

TEST("a directory inside the bucket that is removed is made again by the next put")
{
    char directory[SCRATCH_PATH], inner[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    struct err e = ERR_INIT;
    CHECK_RC(scratch_put(s, "a/b", "x"), RC_OK);
    CHECK_OK(store_remove(s, "a/b", soon(), &e), &e);
    scratch_join(inner, directory, "a");
    CHECK(rmdir(inner) == 0);
    CHECK_RC(scratch_put(s, "a/b", "y"), RC_OK);
    CHECK(scratch_holds(s, "a/b", "y"));
    store_close(&s);
}

TEST("opening says what is wrong with the directory")
{
    char directory[SCRATCH_PATH], inner[SCRATCH_PATH];
    struct store *s = NULL;
    struct err e = ERR_INIT;
    scratch_dir(directory);
    CHECK_RC(store_file_open(&s, "relative/path", BUCKET_CREATE, &e), RC_INVALID);
    scratch_join(inner, directory, "x/y//z/");
    CHECK_RC(store_file_open(&s, inner, BUCKET_MUST_EXIST, &e), RC_NOT_FOUND);
    CHECK(s == NULL && access(inner, F_OK) == -1);
    CHECK_OK(store_file_open(&s, inner, BUCKET_CREATE, &e), &e);
    CHECK(access(inner, F_OK) == 0);
    CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
    store_close(&s);
    CHECK_OK(store_file_open(&s, inner, BUCKET_CREATE, &e), &e);
    CHECK(scratch_holds(s, "k", "v"));
    store_close(&s);
}

TEST("a bucket that is awaited is unavailable until it appears")
{
    char directory[SCRATCH_PATH], inner[SCRATCH_PATH];
    struct store *s = NULL;
    struct err e = ERR_INIT;
    scratch_dir(directory);
    scratch_join(inner, directory, "later");
    CHECK_OK(store_file_open(&s, inner, BUCKET_AWAIT, &e), &e);
    CHECK_RC(scratch_put(s, "k", "v"), RC_UNAVAILABLE);
    CHECK(access(inner, F_OK) == -1);
    CHECK(mkdir(inner, 0755) == 0);
    CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
    CHECK(scratch_holds(s, "k", "v"));
    store_close(&s);
}

TEST("a full file system is no space, and leaves no object")
{
    char directory[SCRATCH_PATH];
    scratch_dir(directory);
    if (geteuid() != 0 || mount("tarn", directory, "tmpfs", 0, "size=256k") != 0) {
        (void)fprintf(stderr, "skipped: needs root to mount a tmpfs\n");
        return;
    }
    struct store *s = NULL;
    struct err e = ERR_INIT;
    static uint8_t data[1 << 20];
    CHECK_OK(store_file_open(&s, directory, BUCKET_MUST_EXIST, &e), &e);
    CHECK_RC(store_put(s, "a/big", (struct bytes){data, sizeof(data)}, soon(), &e), RC_NO_SPACE);
    struct store_object object;
    CHECK_RC(store_head(s, "a/big", &object, soon(), &e), RC_NOT_FOUND);
    CHECK_OK(store_put(s, "a/small", (struct bytes){data, 64 << 10}, soon(), &e), &e);
    store_close(&s);
    CHECK(umount(directory) == 0);
}

TEST("a file that is somebody's FIFO is no object and holds nobody up")
{
    char directory[SCRATCH_PATH], fifo[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    auto_buf struct buf out;
    buf_init(&out, 100);
    scratch_join(fifo, directory, "pipe");
    CHECK(mkfifo(fifo, 0600) == 0);
    CHECK(scratch_get(s, "pipe", &out) == RC_NOT_FOUND);
    store_close(&s);
}

#define WRITERS 8
#define ROUNDS  40

struct writer {
    struct store *store;
    unsigned number;
};

/* All write the same keys, each its own bytes of its own length, and read back somebody's whole. */
static void *write_same_keys(void *arg)
{
    const struct writer *w = arg;
    uint8_t data[WRITERS * 512];
    memset(data, (int)('a' + w->number), sizeof(data));
    auto_buf struct buf out;
    buf_init(&out, sizeof(data));
    for (unsigned round = 0; round < ROUNDS; round++) {
        char key[64];
        struct err e = ERR_INIT;
        (void)snprintf(key, sizeof(key), "dir%u/sub/key", round % 10);
        CHECK_OK(store_put(w->store, key, (struct bytes){data, (w->number + 1) * 512}, soon(), &e),
                 &e);
        CHECK(scratch_get(w->store, key, &out) == RC_OK);
        CHECK(out.size == ((size_t)out.data[0] - 'a' + 1) * 512);
        for (size_t i = 0; i < out.size; i++)
            CHECK(out.data[i] == out.data[0]);
    }
    return NULL;
}

TEST("threads that put the same keys at once never show a mixture")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){s, i};
        CHECK(pthread_create(&threads[i], NULL, write_same_keys, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(entries(directory) == 10);
    store_close(&s);
}
