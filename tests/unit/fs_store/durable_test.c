/*
 * Linked with --wrap for the system calls of a put: in which order they are made, and what is
 * answered when one of them fails. A power cut keeps what was synced before, and only that.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/store/layers.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

/* One letter for each call: m mkdirat, w write, d fdatasync, l linkat, r renameat, f fsync. */
static char calls[256];
static char failing; /* the letter that fails */
static int failure;

static int record(char letter)
{
    size_t size = strlen(calls);
    if (size < sizeof(calls) - 1) {
        calls[size] = letter;
        calls[size + 1] = 0;
    }
    if (letter == failing)
        errno = failure;
    return letter == failing ? -1 : 0;
}

int __real_mkdirat(int dir_fd, const char *path, mode_t mode);
int __wrap_mkdirat(int dir_fd, const char *path, mode_t mode);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

int __wrap_mkdirat(int dir_fd, const char *path, mode_t mode)
{
    return record('m') ? -1 : __real_mkdirat(dir_fd, path, mode);
}

int __wrap_fdatasync(int fd)
{
    return record('d') ? -1 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
    return record('f') ? -1 : __real_fsync(fd);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    return record('l') ? -1 : __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return record('r') ? -1 : __real_renameat(from_fd, from, to_fd, to);
}

ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    return record('w') ? -1 : __real_write(fd, data, size);
}

static enum rc put(struct store *s, const char *key, const char *text)
{
    calls[0] = 0;
    return scratch_put(s, key, text);
}

TEST("an object is synced before it is named, and its name and all above it before the answer")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    CHECK_RC(put(s, "a/b/k", "v"), RC_OK);
    CHECK_STR(calls, "mfmfwdlf");
    CHECK_RC(put(s, "a/b/other", "v"), RC_OK);
    CHECK_STR(calls, "wdlf");
    CHECK_RC(put(s, "top", "v"), RC_OK);
    CHECK_STR(calls, "wdlf");
    store_close(&s);
}

TEST("an object that is replaced keeps its old bytes until the new ones are synced")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    CHECK_RC(put(s, "k", "old"), RC_OK);
    CHECK_RC(put(s, "k", "new"), RC_OK);
    CHECK_STR(calls, "wdllrf");
    CHECK(scratch_holds(s, "k", "new"));
    store_close(&s);
}

TEST("directories that somebody else made are synced once, too")
{
    char directory[SCRATCH_PATH], inner[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    scratch_join(inner, directory, "a");
    CHECK_EQ(__real_mkdirat(AT_FDCWD, inner, 0755), 0);
    CHECK_RC(put(s, "a/k", "v"), RC_OK);
    CHECK_STR(calls, "fwdlf");
    CHECK_RC(put(s, "a/k2", "v"), RC_OK);
    CHECK_STR(calls, "wdlf");
    store_close(&s);
}

TEST("a put that fails at any call leaves no object, or says that it is uncertain")
{
    static const struct {
        char letter;
        int os_errno;
        enum rc rc;
    } cases[] = {
        {'m', ENOSPC, RC_NO_SPACE}, {'m', EROFS, RC_DENIED},    {'w', ENOSPC, RC_NO_SPACE},
        {'w', EDQUOT, RC_NO_SPACE}, {'w', EIO, RC_IO},          {'d', EIO, RC_IO},
        {'d', ENOSPC, RC_NO_SPACE}, {'l', ENOSPC, RC_NO_SPACE}, {'l', EIO, RC_IO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char directory[SCRATCH_PATH];
        struct store *s = scratch_store(directory);
        failing = cases[i].letter;
        failure = cases[i].os_errno;
        enum rc rc = put(s, "a/k", "v");
        failing = 0;
        CHECK_RC(rc, cases[i].rc);
        struct store_object object;
        struct err e = ERR_INIT;
        CHECK_RC(store_head(s, "a/k", &object, CLOCK_FOREVER_MS, &e), RC_NOT_FOUND);
        CHECK_RC(put(s, "a/k", "v"), RC_OK);
        CHECK(scratch_holds(s, "a/k", "v"));
        store_close(&s);
    }
}

TEST("a name that could not be synced is uncertain, and putting again makes it certain")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    failing = 'f';
    failure = EIO;
    CHECK_RC(put(s, "k", "v"), RC_UNCERTAIN);
    failing = 0;
    CHECK_RC(put(s, "k", "v"), RC_OK);
    store_close(&s);
}

TEST("a way that could not be synced is not taken for durable by the next put")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    failing = 'f';
    failure = EIO;
    CHECK_RC(put(s, "a/b/k", "v"), RC_IO);
    failing = 0;
    CHECK_RC(put(s, "a/b/k", "v"), RC_OK);
    CHECK_STR(calls, "fmfwdlf");
    store_close(&s);
}

TEST("a file system that cannot sync directories is used all the same")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    failing = 'f';
    failure = EINVAL;
    enum rc rc = put(s, "a/k", "v");
    failing = 0;
    CHECK_RC(rc, RC_OK);
    store_close(&s);
}
