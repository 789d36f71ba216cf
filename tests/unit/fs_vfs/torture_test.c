/* Random differences between the vfs, over a volume in memory, and a local file. */
#include <pthread.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_vfs/torture.h"
#include "tests/unit/fs_vfs/world.h"

enum { THREADS = 4, PATH_BYTES = 1024 };

struct mounted {
    struct block_cache *cache;
    struct vfs *vfs;
};

static struct mounted mount_world(const char *cache_dir, uint64_t buffer_bytes)
{
    struct err e = ERR_INIT;
    struct mounted m = {NULL, NULL};
    const struct block_cache_options cache = {.volume = world_volume(),
                                              .disk_dir = cache_dir,
                                              .disk_bytes = 64 << 20,
                                              .memory_bytes = buffer_bytes};
    CHECK_OK(block_cache_open(&m.cache, &cache, &e), &e);
    const struct vfs_options vfs = {.volume = world_volume(),
                                    .cache = m.cache,
                                    .buffer_bytes = buffer_bytes,
                                    .readahead_bytes = 4 << 20,
                                    .max_uploads = 4};
    CHECK_OK(vfs_open(&m.vfs, &vfs, &e), &e);
    return m;
}

static void unmount(struct mounted *m)
{
    struct err e = ERR_INIT;
    CHECK_OK(vfs_close(&m->vfs, &e), &e);
    block_cache_close(&m->cache);
}

static unsigned steps_wanted(unsigned otherwise)
{
    const char *text = getenv("TARN_TORTURE_STEPS");
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static uint64_t seed_wanted(void)
{
    const char *text = getenv("TARN_TORTURE_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

static void run_alone(const char *cache_dir, uint32_t block_bytes, uint64_t buffer_bytes)
{
    char model[PATH_BYTES];
    const struct world_options world_options = {.block_bytes = block_bytes};
    (void)snprintf(model, sizeof(model), "%s/model", check_directory());
    world_open(&world_options);
    struct mounted m = mount_world(cache_dir, buffer_bytes);
    struct torture_options t = {.vfs = m.vfs,
                                .name = "file",
                                .model = model,
                                .seed = seed_wanted(),
                                .steps = steps_wanted(300),
                                .chunks = 3};
    torture_run(&t);
    unmount(&m);
    m = mount_world(NULL, buffer_bytes);
    t.vfs = m.vfs;
    torture_compare(&t);
    unmount(&m);
    world_close();
}

TEST("a file never differs from a local one: small blocks, disk cache")
{
    run_alone(check_directory(), 65536, 64 << 20);
}

TEST("a file never differs from a local one: large blocks, no disk cache")
{
    run_alone(NULL, 1 << 20, 64 << 20);
}

TEST("a file never differs from a local one: hardly any memory")
{
    run_alone(check_directory(), 65536, 1 << 20);
}

static void *run_thread(void *arg)
{
    torture_run(arg);
    return NULL;
}

TEST("files of several threads never differ from local ones")
{
    const struct world_options world_options = {.block_bytes = 65536};
    pthread_t threads[THREADS];
    struct torture_options t[THREADS];
    char names[THREADS][16], models[THREADS][PATH_BYTES];

    world_open(&world_options);
    struct mounted m = mount_world(check_directory(), 8 << 20);
    world.put_delay_ms = 1;
    for (unsigned i = 0; i < THREADS; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "file-%u", i);
        (void)snprintf(models[i], sizeof(models[i]), "%s/model", check_directory());
        t[i] = (struct torture_options){.vfs = m.vfs,
                                        .name = names[i],
                                        .model = models[i],
                                        .seed = seed_wanted() + 100 + i,
                                        .steps = steps_wanted(100),
                                        .chunks = 2};
        CHECK_EQ(pthread_create(&threads[i], NULL, run_thread, &t[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    unmount(&m);
    m = mount_world(NULL, 8 << 20);
    for (unsigned i = 0; i < THREADS; i++) {
        t[i].vfs = m.vfs;
        torture_compare(&t[i]);
    }
    unmount(&m);
    world_close();
}
