/* Locks over a volume in memory: who waits, who is woken, what is asked of the database. */
#include "fs/vfs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/vfs/lock_table.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_vfs/world.h"
#include "tests/unit/fs_vfs/world_lock.h"

enum { BLOCK = 65536, ELSEWHERE = 77, PATIENCE_MS = 20000 };

static struct {
    struct block_cache *cache;
    struct vfs *vfs;
    struct vfs_file *file;
    ino_num ino;
} mounted;

static void begin(void)
{
    struct err e = ERR_INIT;
    const struct world_options options = {.block_bytes = BLOCK};
    world_open(&options);
    world_lock_clear();
    const struct block_cache_options cache = {.volume = world_volume(), .memory_bytes = 1 << 20};
    CHECK_OK(block_cache_open(&mounted.cache, &cache, &e), &e);
    const struct vfs_options vfs = {
        .volume = world_volume(), .cache = mounted.cache, .buffer_bytes = 1 << 20};
    CHECK_OK(vfs_open(&mounted.vfs, &vfs, &e), &e);
    const struct vfs_caller who = {0, 0, 1, false};
    const struct meta_create what = {
        .parent = META_ROOT, .name = {(const uint8_t *)"f", 1}, .type = NODE_FILE, .mode = 0644};
    struct node_attr attr;
    CHECK_OK(vfs_create(mounted.vfs, &who, &what, O_RDWR, &attr, &mounted.file, &e), &e);
    mounted.ino = attr.ino;
}

static void end(void)
{
    struct err e = ERR_INIT;
    vfs_release(&mounted.file);
    CHECK_OK(vfs_close(&mounted.vfs, &e), &e);
    block_cache_close(&mounted.cache);
    world_close();
}

/* ---- a request and its outcome ---- */

struct outcome {
    atomic_bool is_done;
    enum rc rc;
    int posix;
    struct vfs_lock_request *request;
};

static void on_done(void *arg, const struct err *e)
{
    struct outcome *o = arg;
    o->rc = e->code;
    o->posix = e->posix;
    atomic_store(&o->is_done, true);
}

static struct meta_lock whole(enum meta_lock_kind kind, enum meta_lock_type type, uint64_t owner)
{
    return (struct meta_lock){.kind = kind, .type = type, .owner = owner, .end = META_LOCK_EOF};
}

static void ask(struct outcome *o, const struct meta_lock *what, bool may_wait)
{
    struct err e = ERR_INIT;
    memset(o, 0, sizeof(*o));
    CHECK_OK(vfs_lock_prepare(mounted.file, what, may_wait, on_done, o, &o->request, &e), &e);
    vfs_lock_start(o->request);
}

static bool is_done_in_time(struct outcome *o)
{
    const uint64_t deadline = clock_deadline(PATIENCE_MS);
    while (!atomic_load(&o->is_done) && clock_left(deadline))
        clock_sleep_until(clock_deadline(1));
    return atomic_load(&o->is_done);
}

/* The errno of an attempt that does not wait; 0: it was granted. */
static int try(enum meta_lock_kind kind, enum meta_lock_type type, uint64_t owner)
{
    struct outcome o;
    const struct meta_lock what = whole(kind, type, owner);
    ask(&o, &what, false);
    CHECK(is_done_in_time(&o));
    return o.rc ? o.posix : 0;
}

static void elsewhere(enum meta_lock_type type)
{
    struct meta_lock what = whole(META_PLOCK, type, 1);
    what.ino = mounted.ino;
    CHECK(world_lock_set(ELSEWHERE, &what));
}

/* ---- tests ---- */

TEST("a lock excludes other owners until it is unlocked")
{
    begin();
    for (enum meta_lock_kind kind = META_FLOCK; kind <= META_PLOCK; kind++) {
        CHECK_EQ(try(kind, META_LOCK_WRITE, 1), 0);
        CHECK_EQ(try(kind, META_LOCK_READ, 2), EAGAIN);
        CHECK_EQ(try(kind, META_LOCK_NONE, 1), 0);
        CHECK_EQ(try(kind, META_LOCK_READ, 2), 0);
    }
    end();
}

TEST("closing a file without locks asks the database nothing")
{
    begin();
    vfs_unlock_owner(mounted.file, 5);
    CHECK_EQ(try(META_PLOCK, META_LOCK_NONE, 5), 0);
    CHECK_EQ(atomic_load(&world_lock.sets), 0);
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 5), 0);
    vfs_unlock_owner(mounted.file, 6);
    CHECK_EQ(atomic_load(&world_lock.sets), 1);
    vfs_unlock_owner(mounted.file, 5);
    vfs_unlock_owner(mounted.file, 5);
    CHECK_EQ(atomic_load(&world_lock.sets), 2);
    end();
}

TEST("a waiting request is granted when the holder here lets go")
{
    struct outcome o;
    begin();
    CHECK_EQ(try(META_FLOCK, META_LOCK_WRITE, 1), 0);
    const struct meta_lock what = whole(META_FLOCK, META_LOCK_READ, 2);
    ask(&o, &what, true);
    CHECK(!atomic_load(&o.is_done));
    CHECK_EQ(try(META_FLOCK, META_LOCK_NONE, 1), 0);
    CHECK(is_done_in_time(&o));
    CHECK_EQ(o.rc, RC_OK);
    end();
}

TEST("a waiting request sees that a holder elsewhere has let go")
{
    struct outcome o;
    begin();
    elsewhere(META_LOCK_WRITE);
    const struct meta_lock what = whole(META_PLOCK, META_LOCK_WRITE, 2);
    ask(&o, &what, true);
    clock_sleep_until(clock_deadline(20));
    CHECK(!atomic_load(&o.is_done));
    elsewhere(META_LOCK_NONE);
    CHECK(is_done_in_time(&o));
    CHECK_EQ(o.rc, RC_OK);
    end();
}

TEST("many that wait for one lock look together and get it one after the other")
{
    enum { MANY = 200 };
    struct outcome *o = calloc(MANY, sizeof(*o));
    begin();
    elsewhere(META_LOCK_WRITE);
    for (int i = 0; i < MANY; i++) {
        const struct meta_lock what = whole(META_PLOCK, META_LOCK_WRITE, (uint64_t)i + 10);
        ask(&o[i], &what, true);
    }
    const unsigned sets = atomic_load(&world_lock.sets);
    clock_sleep_until(clock_deadline(50));
    CHECK_EQ(atomic_load(&world_lock.sets), sets); /* while it is held nobody tries in vain */
    elsewhere(META_LOCK_NONE);
    for (int granted = 0; granted < MANY; granted++) {
        int holder = -1;
        for (uint64_t deadline = clock_deadline(PATIENCE_MS); holder < 0 && clock_left(deadline);)
            for (int i = 0; i < MANY; i++)
                if (o[i].request && atomic_load(&o[i].is_done)) {
                    CHECK_EQ(holder, -1);
                    holder = i;
                }
        CHECK(holder >= 0);
        CHECK_EQ(o[holder].rc, RC_OK);
        o[holder].request = NULL;
        vfs_unlock_owner(mounted.file, (uint64_t)holder + 10);
    }
    end();
    free(o);
}

TEST("a wait that is cancelled ends and leaves no lock")
{
    struct outcome o;
    begin();
    elsewhere(META_LOCK_WRITE);
    const struct meta_lock what = whole(META_PLOCK, META_LOCK_WRITE, 2);
    ask(&o, &what, true);
    vfs_lock_cancel(o.request);
    CHECK(is_done_in_time(&o));
    CHECK_EQ(o.rc, RC_CANCELLED);
    elsewhere(META_LOCK_NONE);
    elsewhere(META_LOCK_WRITE);
    end();
}

TEST("requests that wait end when the volume is closed")
{
    struct outcome o;
    struct err e = ERR_INIT;
    begin();
    elsewhere(META_LOCK_WRITE);
    const struct meta_lock what = whole(META_PLOCK, META_LOCK_WRITE, 2);
    ask(&o, &what, true);
    CHECK_OK(vfs_close(&mounted.vfs, &e), &e);
    CHECK(atomic_load(&o.is_done));
    CHECK_EQ(o.posix, ENOTCONN);
    block_cache_close(&mounted.cache);
    world_close();
}

TEST("a lost session refuses its owners until they close")
{
    begin();
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 1), 0);
    lock_table_fence(mounted.vfs->locks);
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 1), EIO);
    CHECK_EQ(try(META_PLOCK, META_LOCK_NONE, 1), EIO);
    struct err e = ERR_INIT;
    struct meta_lock test = whole(META_PLOCK, META_LOCK_READ, 1);
    CHECK_EQ(vfs_getlk(mounted.file, &test, &e), RC_REFUSED);
    CHECK_EQ(e.posix, EIO);
    const unsigned sets = atomic_load(&world_lock.sets);
    vfs_unlock_owner(mounted.file, 1);
    CHECK_EQ(atomic_load(&world_lock.sets), sets); /* nothing was re-acquired, nor let go */
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 1), 0);
    end();
}

TEST("a lock that could not be unlocked at a close is unlocked later")
{
    begin();
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 1), 0);
    atomic_store(&world_lock.outcome, RC_UNAVAILABLE);
    vfs_unlock_owner(mounted.file, 1);
    lock_table_tick(mounted.vfs->locks);
    atomic_store(&world_lock.outcome, RC_OK);
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 2), EAGAIN);
    lock_table_tick(mounted.vfs->locks);
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 2), 0);
    end();
}

TEST("a lock whose answer was lost is let go, unless its owner had one before")
{
    for (int had_one = 0; had_one <= 1; had_one++) {
        begin();
        if (had_one)
            CHECK_EQ(try(META_FLOCK, META_LOCK_READ, 1), 0);
        atomic_store(&world_lock.loses_answer, true);
        CHECK(try(META_FLOCK, META_LOCK_WRITE, 1) != EAGAIN);
        CHECK_EQ(try(META_FLOCK, META_LOCK_WRITE, 2), EAGAIN);
        lock_table_tick(mounted.vfs->locks);
        CHECK_EQ(try(META_FLOCK, META_LOCK_WRITE, 2), had_one ? EAGAIN : 0);
        end();
    }
}

TEST("the last close of a handle ends the locks that were taken through it")
{
    struct err e = ERR_INIT;
    struct vfs_file *other = NULL;
    bool keeps;
    begin();
    CHECK_OK(vfs_open_file(mounted.vfs, mounted.ino, O_RDWR, &other, &keeps, &e), &e);
    CHECK_EQ(try(META_FLOCK, META_LOCK_WRITE, 1), 0);
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 2), 0);
    vfs_release(&other);
    CHECK_EQ(try(META_FLOCK, META_LOCK_READ, 3), EAGAIN);
    CHECK_OK(vfs_open_file(mounted.vfs, mounted.ino, O_RDWR, &other, &keeps, &e), &e);
    vfs_release(&mounted.file);
    mounted.file = other;
    CHECK_EQ(try(META_FLOCK, META_LOCK_READ, 3), 0);
    CHECK_EQ(try(META_PLOCK, META_LOCK_READ, 3), 0);
    end();
}

TEST("what was written under a lock is committed before it is let go")
{
    struct err e = ERR_INIT;
    const struct vfs_caller who = {0, 0, 1, false};
    begin();
    CHECK_EQ(try(META_PLOCK, META_LOCK_WRITE, 1), 0);
    CHECK_OK(vfs_write(mounted.file, &who, 0, (struct bytes){(const uint8_t *)"x", 1}, &e), &e);
    CHECK_EQ(atomic_load(&world.commits), 0);
    CHECK_EQ(try(META_PLOCK, META_LOCK_NONE, 1), 0);
    CHECK_EQ(atomic_load(&world.commits), 1);
    end();
}

static void count_notice(void *arg, ino_num ino)
{
    CHECK_EQ(ino, mounted.ino);
    atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

TEST("a lock after a write elsewhere makes the kernel forget first")
{
    _Atomic unsigned notices = 0;
    begin();
    vfs_on_invalidate(mounted.vfs, count_notice, &notices);
    CHECK_EQ(try(META_PLOCK, META_LOCK_READ, 1), 0);
    CHECK_EQ(notices, 0);
    vfs_unlock_owner(mounted.file, 1);
    world_write_elsewhere(mounted.ino, 0, 100, 'y');
    CHECK_EQ(try(META_PLOCK, META_LOCK_READ, 1), 0);
    CHECK_EQ(notices, 1);
    uint8_t byte = 0;
    size_t got = 0;
    struct err e = ERR_INIT;
    CHECK_OK(vfs_read(mounted.file, 0, 1, &byte, &got, &e), &e);
    CHECK_EQ(byte, 'y');
    end();
}
