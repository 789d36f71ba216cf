#include "fs/base/lock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"

/* Does misuse abort? In a child, as it should not live through it. */
static bool is_fatal(void (*misuse)(void))
{
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(null, STDERR_FILENO);
        misuse();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void take_downwards(void)
{
    struct lock inner;
    struct lock outer;
    lock_init(&inner, LOCK_META_POOL);
    lock_init(&outer, LOCK_VFS_INODE);
    lock_take(&inner);
    lock_take(&outer);
}

static void take_equals(void)
{
    struct lock one;
    struct lock two;
    lock_init(&one, LOCK_VFS_INODE);
    lock_init(&two, LOCK_VFS_INODE);
    lock_take(&one);
    lock_take(&two);
}

static void drop_not_held(void)
{
    struct lock one;
    lock_init(&one, LOCK_VFS_INODE);
    lock_drop(&one);
}

#ifdef NDEBUG
#define CHECKS_ORDER false
#else
#define CHECKS_ORDER true
#endif

TEST("a wrong order aborts a debug build before it can deadlock")
{
    CHECK_EQ(is_fatal(take_downwards), CHECKS_ORDER);
    CHECK_EQ(is_fatal(take_equals), CHECKS_ORDER);
    CHECK(!CHECKS_ORDER || is_fatal(drop_not_held));
}

TEST("locks may be dropped in any order and taken again")
{
    struct lock outer;
    struct lock inner;
    lock_init(&outer, LOCK_VFS_INODE);
    lock_init(&inner, LOCK_STORE);
    for (int i = 0; i < 3; i++) {
        lock_take(&outer);
        lock_take(&inner);
        lock_drop(&outer);
        lock_drop(&inner);
    }
    lock_deinit(&outer);
    lock_deinit(&inner);
}

TEST("a wait ends at its deadline and holds the lock again")
{
    struct lock lock;
    struct lock_cond cond;
    lock_init(&lock, LOCK_STORE);
    lock_cond_init(&cond);
    uint64_t deadline_ms = clock_deadline(20);
    lock_take(&lock);
    while (lock_wait(&cond, &lock, deadline_ms))
        continue;
    lock_drop(&lock);
    CHECK(clock_ms() >= deadline_ms);
    lock_cond_deinit(&cond);
    lock_deinit(&lock);
}

TEST("deadlines saturate, and what is left fits poll")
{
    CHECK(clock_deadline(UINT64_MAX) == CLOCK_FOREVER_MS);
    CHECK_EQ(clock_left(CLOCK_FOREVER_MS), INT32_MAX);
    CHECK_EQ(clock_left(0), 0);
    uint64_t deadline_ms = clock_deadline(30);
    CHECK(clock_left(deadline_ms) <= 30);
    clock_sleep_until(deadline_ms);
    CHECK_EQ(clock_left(deadline_ms), 0);
}
