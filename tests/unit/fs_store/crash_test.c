#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/store/layers.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

#define KILLS      12
#define OBJECT_MAX (3 << 20)
#define KEYS       40

/* What object number of a round holds: its size and bytes follow from the two. */
static size_t object_size(unsigned number, unsigned version)
{
    return 8 + hash_u64(number * 1000ULL + version) % (OBJECT_MAX - 8);
}

static uint8_t content[OBJECT_MAX];

/* The first eight bytes name the version, so that a reader knows what the rest has to be. */
static struct bytes make_object(unsigned number, unsigned version)
{
    size_t size = object_size(number, version);
    memset(content, (int)(number + version), size);
    memcpy(content, &version, sizeof(version));
    return (struct bytes){content, size};
}

/* Put until killed: new keys, and the same ones again. Each finished put is told through the pipe.
 */
static NORETURN void put_until_killed(struct store *s, int done_fd, unsigned first_version)
{
    for (unsigned version = first_version;; version++) {
        for (unsigned number = 0; number < KEYS; number++) {
            char key[64];
            struct err e = ERR_INIT;
            (void)snprintf(key, sizeof(key), "chunks/%u/%u/object", version % 7, number);
            struct bytes data = make_object(number, version);
            if (store_put(s, key, data, CLOCK_FOREVER_MS, &e))
                _exit(3);
            const unsigned told[2] = {number, version};
            if (write(done_fd, told, sizeof(told)) != sizeof(told))
                _exit(4);
        }
    }
}

struct check_state {
    struct store *store;
    unsigned seen;
};

static bool check_object(const struct store_object *object, void *arg)
{
    struct check_state *state = arg;
    unsigned directory, number, version;
    struct err e = ERR_INIT;
    CHECK_EQ(sscanf(object->key, "chunks/%u/%u/object", &directory, &number), 2);
    auto_buf struct buf found;
    buf_init(&found, OBJECT_MAX);
    CHECK_OK(store_get(state->store, object->key, 0, STORE_TO_END, &found, CLOCK_FOREVER_MS, &e),
             &e);
    CHECK(found.size >= sizeof(version));
    memcpy(&version, found.data, sizeof(version));
    struct bytes whole = make_object(number, version);
    CHECK_BYTES(found.data, found.size, whole.data, whole.size);
    state->seen++;
    return true;
}

/* Every object that was told as put is there, with that version or a later one. */
static void check_told(struct store *s, int told_fd)
{
    unsigned told[2];
    while (read(told_fd, told, sizeof(told)) == sizeof(told)) {
        char key[64];
        unsigned version = 0;
        struct err e = ERR_INIT;
        auto_buf struct buf head;
        buf_init(&head, sizeof(version));
        (void)snprintf(key, sizeof(key), "chunks/%u/%u/object", told[1] % 7, told[0]);
        CHECK_OK(store_get(s, key, 0, sizeof(version), &head, CLOCK_FOREVER_MS, &e), &e);
        memcpy(&version, head.data, sizeof(version));
        CHECK(version >= told[1]);
    }
}

static void kill_once(struct store *s, unsigned round)
{
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0)
        put_until_killed(s, ends[1], round * 7);
    (void)close(ends[1]);
    clock_sleep_until(clock_deadline(5 + hash_u64(round) % 45));
    CHECK_EQ(kill(child, SIGKILL), 0);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    struct check_state state = {.store = s};
    struct err e = ERR_INIT;
    CHECK_OK(store_list(s, "", "", check_object, &state, CLOCK_FOREVER_MS, &e), &e);
    check_told(s, ends[0]);
    (void)close(ends[0]);
}

TEST("a kill during puts leaves every object whole and every finished one there")
{
    char directory[SCRATCH_PATH];
    struct store *s = scratch_store(directory);
    for (unsigned round = 0; round < KILLS; round++)
        kill_once(s, round);
    store_close(&s);
}
