/*
 * The vfs over a real volume: PostgreSQL and a bucket. TARN_TEST_PG_URL names a formatted volume
 * that the test may fill. Ends with a comparison by a second mount that has no cache. Driven by
 * tests/system/test_vfs.py.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_vfs/torture.h"

enum { THREADS = 3, PATH_BYTES = 1024 };

struct mounted {
    struct volume *volume;
    struct block_cache *cache;
    struct vfs *vfs;
};

static struct mounted mount_volume(const char *cache_dir)
{
    struct err e = ERR_INIT;
    struct mounted m = {NULL, NULL, NULL};
    const struct volume_options volume = {
        .meta = {.url = getenv("TARN_TEST_PG_URL"), .application = "vfs test"}};
    CHECK_OK(volume_open(&m.volume, &volume, &e), &e);
    CHECK_OK(meta_session_begin(volume_meta(m.volume), "/test", &e), &e);
    const struct block_cache_options cache = {.volume = m.volume,
                                              .disk_dir = cache_dir,
                                              .disk_bytes = 256 << 20,
                                              .memory_bytes = 64 << 20};
    CHECK_OK(block_cache_open(&m.cache, &cache, &e), &e);
    const struct vfs_options vfs = {.volume = m.volume,
                                    .cache = m.cache,
                                    .buffer_bytes = 64 << 20,
                                    .readahead_bytes = 32 << 20};
    CHECK_OK(vfs_open(&m.vfs, &vfs, &e), &e);
    return m;
}

static void unmount(struct mounted *m)
{
    struct err e = ERR_INIT;
    CHECK_OK(vfs_close(&m->vfs, &e), &e);
    block_cache_close(&m->cache);
    volume_close(&m->volume);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void *run_thread(void *arg)
{
    torture_run(arg);
    return NULL;
}

TEST("files of several threads never differ from local ones, here and in a second mount")
{
    pthread_t threads[THREADS];
    struct torture_options t[THREADS];
    char names[THREADS][64], models[THREADS][PATH_BYTES];
    const uint64_t seed = number_from("TARN_TORTURE_SEED", (uint64_t)clock_wall().tv_sec);

    struct mounted m = mount_volume(check_directory());
    for (unsigned i = 0; i < THREADS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "torture-%llu-%u", (unsigned long long)seed, i);
        (void)snprintf(models[i], sizeof(models[i]), "%s/model", check_directory());
        t[i] = (struct torture_options){.vfs = m.vfs,
                                        .name = names[i],
                                        .model = models[i],
                                        .seed = seed + i,
                                        .steps = (unsigned)number_from("TARN_TORTURE_STEPS", 200),
                                        .chunks = 2};
        CHECK_EQ(pthread_create(&threads[i], NULL, run_thread, &t[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);

    struct mounted second = mount_volume(NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        t[i].vfs = second.vfs;
        torture_compare(&t[i]);
    }
    unmount(&m);
    unmount(&second);
}
