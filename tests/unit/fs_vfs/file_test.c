/* Open files over a volume in memory: what is cached, what is committed when, what is said of
 * failures. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/vfs/copy.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_vfs/world.h"

enum { BLOCK = 65536 };

static const struct vfs_caller caller = {1000, 1000, 1, false};

static struct {
    struct block_cache *cache;
    struct vfs *vfs;
} mounted;

static void mount_again(uint64_t buffer_bytes, bool is_read_only)
{
    struct err e = ERR_INIT;
    const struct block_cache_options cache = {.volume = world_volume(),
                                              .memory_bytes = buffer_bytes};
    CHECK_OK(block_cache_open(&mounted.cache, &cache, &e), &e);
    const struct vfs_options vfs = {.volume = world_volume(),
                                    .cache = mounted.cache,
                                    .buffer_bytes = buffer_bytes,
                                    .readahead_bytes = 4 << 20,
                                    .max_uploads = 4,
                                    .is_read_only = is_read_only};
    CHECK_OK(vfs_open(&mounted.vfs, &vfs, &e), &e);
}

static void begin(uint64_t buffer_bytes)
{
    const struct world_options options = {.block_bytes = BLOCK};
    world_open(&options);
    mount_again(buffer_bytes, false);
}

static void unmount(void)
{
    struct err e = ERR_INIT;
    CHECK_OK(vfs_close(&mounted.vfs, &e), &e);
    block_cache_close(&mounted.cache);
}

static void end(void)
{
    unmount();
    world_close();
}

static struct bytes name_of(const char *name)
{
    return (struct bytes){(const uint8_t *)name, strlen(name)};
}

static struct vfs_file *create(const char *name, ino_num *ino)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs_file *file = NULL;
    const struct meta_create what = {
        .parent = META_ROOT, .name = name_of(name), .type = NODE_FILE, .mode = 0644};
    CHECK_OK(vfs_create(mounted.vfs, &caller, &what, O_RDWR | O_EXCL, &attr, &file, &e), &e);
    *ino = attr.ino;
    return file;
}

static struct vfs_file *open_again(ino_num ino, bool *keeps)
{
    struct err e = ERR_INIT;
    struct vfs_file *file = NULL;
    CHECK_OK(vfs_open_file(mounted.vfs, ino, O_RDWR, &file, keeps, &e), &e);
    return file;
}

static enum rc write_bytes(struct vfs_file *file, uint64_t off, size_t size, uint8_t byte)
{
    struct err e = ERR_INIT;
    auto_free uint8_t *data = malloc(size);
    memset(data, byte, size);
    return vfs_write(file, &caller, off, (struct bytes){data, size}, &e);
}

static enum rc fsync_posix(struct vfs_file *file, int *posix)
{
    struct err e = ERR_INIT;
    enum rc rc = vfs_fsync(file, &e);
    *posix = e.posix;
    return rc;
}

static enum rc fsync_now(struct vfs_file *file)
{
    int ignored;
    return fsync_posix(file, &ignored);
}

/* The byte at off; -1 at the end, minus the code on failure. */
static int byte_at(struct vfs_file *file, uint64_t off)
{
    struct err e = ERR_INIT;
    uint8_t byte = 0;
    size_t got = 0;
    enum rc rc = vfs_read(file, off, 1, &byte, &got, &e);
    return rc ? -(int)rc - 1 : got ? byte : -1;
}

/* An upload gives its memory back a moment after the flush that waited for it has gone on. */
static bool is_memory_free(void)
{
    for (int i = 0; i < 500 && memory_used(block_cache_memory(mounted.cache)); i++)
        clock_sleep_until(clock_deadline(10));
    return memory_used(block_cache_memory(mounted.cache)) == 0;
}

/* A closed file of size bytes. */
static ino_num make(const char *name, size_t size, uint8_t byte)
{
    ino_num ino;
    struct vfs_file *file = create(name, &ino);
    CHECK_RC(write_bytes(file, 0, size, byte), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    vfs_release(&file);
    return ino;
}

TEST("a new file written and closed is one commit")
{
    begin(8 << 20);
    (void)make("file", 3 * BLOCK + 5, 1);
    CHECK_EQ(world.commits, 1);
    CHECK_EQ(world.puts, 4);
    end();
}

TEST("writes to many chunks are committed by one exchange")
{
    ino_num ino;
    begin(64 << 20);
    struct vfs_file *file = create("file", &ino);
    for (uint64_t chunk = 0; chunk < 7; chunk++)
        CHECK_RC(write_bytes(file, chunk * META_CHUNK_BYTES + 100, 2 * BLOCK, 3), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(world.commits, 1);
    CHECK_EQ(world.slices_committed, 7);
    CHECK_EQ(byte_at(file, 6 * META_CHUNK_BYTES + 100), 3);
    CHECK_EQ(byte_at(file, 6 * META_CHUNK_BYTES + 99), 0);
    vfs_release(&file);
    end();
}

TEST("full blocks are uploaded while writing goes on")
{
    ino_num ino;
    begin(64 << 20);
    struct vfs_file *file = create("file", &ino);
    for (uint64_t off = 0; off < 16 * BLOCK; off += 4096)
        CHECK_RC(write_bytes(file, off, 4096, 3), RC_OK);
    for (int i = 0; i < 500 && world.puts < 16; i++)
        clock_sleep_until(clock_deadline(10));
    CHECK_EQ(world.puts, 16);
    CHECK_EQ(world.commits, 0);
    vfs_release(&file);
    CHECK_EQ(world.commits, 1);
    CHECK_EQ(world.slices_committed, 1);
    end();
}

TEST("small writes one after the other, and over each other, make one slice")
{
    ino_num ino;
    begin(64 << 20);
    struct vfs_file *file = create("file", &ino);
    for (uint64_t off = 0; off < 1000; off += 10)
        CHECK_RC(write_bytes(file, off, 10, 3), RC_OK);
    CHECK_RC(write_bytes(file, 500, 100, 4), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(world.slices_committed, 1);
    CHECK_EQ(byte_at(file, 550), 4);
    CHECK_EQ(byte_at(file, 600), 3);
    vfs_release(&file);
    end();
}

TEST("attributes include what is still buffered")
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    ino_num ino;
    begin(64 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 1000, 1, 3), RC_OK);
    CHECK_OK(vfs_getattr(mounted.vfs, ino, &attr, &e), &e);
    CHECK_EQ(attr.length, 1001);
    CHECK_OK(vfs_lookup(mounted.vfs, META_ROOT, name_of("file"), &attr, &e), &e);
    CHECK_EQ(attr.length, 1001);
    CHECK_EQ(world.commits, 0);
    vfs_release(&file);
    end();
}

TEST("a writer waits while the buffers are full, and memory is bounded")
{
    ino_num ino;
    uint64_t most = 0;
    begin(1 << 20);
    world.put_delay_ms = 2;
    struct vfs_file *file = create("file", &ino);
    for (uint64_t off = 0; off < 16 << 20; off += 131072) {
        CHECK_RC(write_bytes(file, off, 131072, (uint8_t)(off >> 17)), RC_OK);
        const uint64_t used = memory_used(block_cache_memory(mounted.cache));
        most = used > most ? used : most;
    }
    CHECK(most <= (1 << 20) + 2 * 131072);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(byte_at(file, (16 << 20) - 1), 127);
    vfs_release(&file);
    end();
}

TEST("many buffered files make room for each other")
{
    enum { FILES = 200 };
    struct vfs_file *files[FILES];
    char name[16];
    ino_num ino;
    begin(1 << 20);
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "f%d", i);
        files[i] = create(name, &ino);
        CHECK_RC(write_bytes(files[i], 0, 20000, (uint8_t)i), RC_OK);
    }
    for (int i = 0; i < FILES; i++) {
        CHECK_EQ(byte_at(files[i], 19999), i);
        vfs_release(&files[i]);
    }
    end();
}

TEST("a failed upload is said by fsync, kept, and stored by the next fsync")
{
    ino_num ino;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    world.failing_puts = 1000;
    CHECK_RC(write_bytes(file, 0, 3 * BLOCK, 5), RC_OK);
    CHECK_RC(fsync_now(file), RC_UNAVAILABLE);
    CHECK_EQ(world.commits, 0);
    world.failing_puts = 0;
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(world.commits, 1);
    vfs_release(&file);
    bool keeps;
    file = open_again(ino, &keeps);
    CHECK_EQ(byte_at(file, 3 * BLOCK - 1), 5);
    vfs_release(&file);
    end();
}

TEST("what cannot be stored until the last close is not half visible")
{
    ino_num ino;
    bool keeps;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    world.failing_puts = 1000;
    CHECK_RC(write_bytes(file, 0, 3 * BLOCK, 5), RC_OK);
    CHECK_RC(fsync_now(file), RC_UNAVAILABLE);
    vfs_release(&file);
    world.failing_puts = 0;
    file = open_again(ino, &keeps);
    CHECK_EQ(byte_at(file, 0), -1);
    CHECK(is_memory_free());
    vfs_release(&file);
    end();
}

TEST("a commit that fails for a while is made by a later fsync")
{
    ino_num ino;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    world.commit_outcome = RC_UNAVAILABLE;
    CHECK_RC(fsync_now(file), RC_UNAVAILABLE);
    CHECK_RC(fsync_now(file), RC_UNAVAILABLE);
    world.commit_outcome = RC_OK;
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(byte_at(file, 9), 5);
    vfs_release(&file);
    end();
}

TEST("a commit whose answer is lost is not made twice, and what is written meanwhile follows it")
{
    ino_num ino;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    world.loses_commit_answer = true;
    CHECK_RC(fsync_now(file), RC_UNAVAILABLE);
    CHECK_RC(write_bytes(file, 5, 10, 6), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(byte_at(file, 4), 5);
    CHECK_EQ(byte_at(file, 14), 6);
    CHECK_EQ(world.slices_committed, 2);
    vfs_release(&file);
    end();
}

TEST("a write to a file that was removed elsewhere is ESTALE until it is closed")
{
    ino_num ino;
    int posix;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    world_remove_elsewhere(ino);
    CHECK_RC(fsync_posix(file, &posix), RC_REFUSED);
    CHECK_EQ(posix, ESTALE);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_REFUSED);
    CHECK_RC(fsync_posix(file, &posix), RC_REFUSED);
    CHECK(is_memory_free());
    vfs_release(&file);
    end();
}

TEST("a session that ended loses what was pending, loudly")
{
    ino_num ino;
    int posix;
    bool keeps;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    world.commit_outcome = RC_STALE;
    CHECK_RC(fsync_posix(file, &posix), RC_REFUSED);
    CHECK_EQ(posix, ESTALE);
    world.commit_outcome = RC_OK;
    CHECK_RC(fsync_posix(file, &posix), RC_REFUSED);
    vfs_release(&file);
    file = open_again(ino, &keeps);
    CHECK_RC(write_bytes(file, 0, 10, 6), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(byte_at(file, 0), 6);
    vfs_release(&file);
    end();
}

TEST("the kernel keeps its pages over an open only if nothing changed")
{
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    struct vfs_file *file = open_again(ino, &keeps);
    CHECK(!keeps); /* the last handle had written: no digest of that is known */
    vfs_release(&file);
    file = open_again(ino, &keeps);
    CHECK(keeps);
    struct vfs_file *second = open_again(ino, &keeps);
    CHECK(keeps);
    vfs_release(&second);
    vfs_release(&file);

    world_write_elsewhere(ino, 0, 10, 2);
    file = open_again(ino, &keeps);
    CHECK(!keeps);
    CHECK_EQ(byte_at(file, 0), 2);
    vfs_release(&file);
    end();
}

TEST("a change elsewhere while a file is open is seen by the next open, and kept by nobody")
{
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    struct vfs_file *first = open_again(ino, &keeps);
    CHECK_EQ(byte_at(first, 0), 1);
    world_write_elsewhere(ino, 0, 20, 2);
    struct vfs_file *second = open_again(ino, &keeps);
    CHECK(!keeps);
    CHECK_EQ(byte_at(second, 0), 2);
    CHECK_EQ(byte_at(first, 19), 2);
    vfs_release(&first);
    vfs_release(&second);
    first = open_again(ino, &keeps);
    CHECK(!keeps);
    vfs_release(&first);
    end();
}

TEST("attributes that show a change elsewhere drop what was known of the slices")
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    struct vfs_file *file = open_again(ino, &keeps);
    CHECK_EQ(byte_at(file, 0), 1);
    world_write_elsewhere(ino, 0, 20, 2);
    CHECK_OK(vfs_getattr(mounted.vfs, ino, &attr, &e), &e);
    CHECK_EQ(attr.length, 20);
    CHECK_EQ(byte_at(file, 0), 2);
    CHECK_EQ(byte_at(file, 19), 2);
    vfs_release(&file);
    end();
}

static void *read_chunk_one(void *arg)
{
    (void)byte_at(arg, META_CHUNK_BYTES);
    return NULL;
}

TEST("slices that were looked up before a commit are not believed after it")
{
    ino_num ino;
    pthread_t thread;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, META_CHUNK_BYTES, 10, 1), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    world.slices_delay_ms = 300;
    CHECK_EQ(pthread_create(&thread, NULL, read_chunk_one, file), 0);
    while (world.slice_reads == 0)
        clock_sleep_until(clock_deadline(5));
    clock_sleep_until(clock_deadline(50));
    CHECK_RC(write_bytes(file, META_CHUNK_BYTES, 10, 2), RC_OK);
    CHECK_RC(fsync_now(file), RC_OK);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    world.slices_delay_ms = 0;
    CHECK_EQ(byte_at(file, META_CHUNK_BYTES), 2);
    vfs_release(&file);
    end();
}

TEST("a block that compaction removed is found by reading the slices again")
{
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 3 * BLOCK, 1);
    world_write_elsewhere(ino, 100, 50, 2);
    struct vfs_file *file = open_again(ino, &keeps);
    CHECK_EQ(byte_at(file, 0), 1);
    world_compact(ino);
    block_cache_trim(mounted.cache);
    CHECK_EQ(byte_at(file, 2 * BLOCK), 1);
    CHECK_EQ(byte_at(file, 149), 2);
    CHECK_EQ(byte_at(file, 150), 1);
    vfs_release(&file);
    end();
}

TEST("a block that is nowhere is an I/O error, never zeros")
{
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    world_compact(ino);
    struct vfs_file *file = open_again(ino, &keeps);
    block_cache_trim(mounted.cache);
    world_compact(ino);
    world_remove_elsewhere(ino);
    CHECK_EQ(byte_at(file, 5), -(int)RC_REFUSED - 1);
    vfs_release(&file);
    end();
}

TEST("an unlinked file can be read while it is open, and is let go at the last close")
{
    struct err e = ERR_INIT;
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    struct vfs_file *file = open_again(ino, &keeps), *second = open_again(ino, &keeps);
    CHECK_OK(vfs_unlink(mounted.vfs, &caller, META_ROOT, name_of("file"), &e), &e);
    CHECK_EQ(byte_at(file, 5), 1);
    vfs_release(&file);
    CHECK_EQ(world.releases, 0);
    CHECK_EQ(byte_at(second, 5), 1);
    vfs_release(&second);
    CHECK_EQ(world.releases, 1);
    end();
}

TEST("a file that was replaced by rename while it was open is let go at the last close")
{
    struct err e = ERR_INIT;
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    (void)make("new", 10, 2);
    struct vfs_file *file = open_again(ino, &keeps);
    CHECK_OK(vfs_rename(mounted.vfs, &caller, META_ROOT, name_of("new"), META_ROOT, name_of("file"),
                        0, &e),
             &e);
    CHECK_EQ(byte_at(file, 5), 1);
    vfs_release(&file);
    CHECK_EQ(world.releases, 1);
    end();
}

TEST("create without O_EXCL opens what is there, and cuts it with O_TRUNC")
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs_file *file = NULL;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    const struct meta_create what = {
        .parent = META_ROOT, .name = name_of("file"), .type = NODE_FILE, .mode = 0644};
    CHECK_RC(vfs_create(mounted.vfs, &caller, &what, O_RDWR | O_EXCL, &attr, &file, &e),
             RC_REFUSED);
    CHECK_OK(vfs_create(mounted.vfs, &caller, &what, O_RDWR, &attr, &file, &e), &e);
    CHECK_EQ(attr.ino, ino);
    CHECK_EQ(attr.length, 10);
    vfs_release(&file);
    CHECK_OK(vfs_create(mounted.vfs, &caller, &what, O_RDWR | O_TRUNC, &attr, &file, &e), &e);
    CHECK_EQ(attr.length, 0);
    CHECK_EQ(byte_at(file, 0), -1);
    vfs_release(&file);
    end();
}

TEST("times that are set come after the writes before them")
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    ino_num ino;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    const struct meta_setattr what = {.ino = ino, .mask = SETATTR_MTIME, .mtime = {1000, 500}};
    CHECK_OK(vfs_setattr(mounted.vfs, &what, &attr, &e), &e);
    CHECK_EQ(attr.mtime.tv_sec, 1000);
    CHECK_RC(fsync_now(file), RC_OK);
    vfs_release(&file);
    CHECK_OK(vfs_getattr(mounted.vfs, ino, &attr, &e), &e);
    CHECK_EQ(attr.mtime.tv_sec, 1000);
    CHECK_EQ(attr.length, 10);
    CHECK_EQ(world.commits, 1);
    end();
}

TEST("a read-only mount refuses every change")
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    struct vfs_file *file = NULL;
    bool keeps;
    begin(8 << 20);
    const ino_num ino = make("file", 10, 1);
    unmount();
    mount_again(8 << 20, true);
    const struct meta_create what = {.parent = META_ROOT, .name = name_of("x"), .type = NODE_FILE};
    const struct meta_setattr mode = {.ino = ino, .mask = SETATTR_MODE};
    CHECK_RC(vfs_open_file(mounted.vfs, ino, O_RDWR, &file, &keeps, &e), RC_REFUSED);
    CHECK_EQ(e.posix, EROFS);
    CHECK_RC(vfs_mknod(mounted.vfs, &caller, &what, &attr, &e), RC_REFUSED);
    CHECK_RC(vfs_unlink(mounted.vfs, &caller, META_ROOT, name_of("file"), &e), RC_REFUSED);
    CHECK_RC(vfs_setattr(mounted.vfs, &mode, &attr, &e), RC_REFUSED);
    CHECK_OK(vfs_open_file(mounted.vfs, ino, O_RDONLY, &file, &keeps, &e), &e);
    CHECK_EQ(byte_at(file, 9), 1);
    CHECK_RC(write_bytes(file, 0, 1, 1), RC_REFUSED);
    vfs_release(&file);
    end();
}

TEST("closing the vfs flushes what is open")
{
    ino_num ino;
    bool keeps;
    begin(8 << 20);
    struct vfs_file *file = create("file", &ino);
    CHECK_RC(write_bytes(file, 0, 10, 5), RC_OK);
    unmount();
    CHECK_EQ(world.commits, 1);
    mount_again(8 << 20, false);
    file = open_again(ino, &keeps);
    CHECK_EQ(byte_at(file, 9), 5);
    vfs_release(&file);
    end();
}

TEST("a copy takes along what is still buffered, and what was read before is read anew")
{
    ino_num from_ino, to_ino;
    uint64_t copied = 0;
    struct err e = ERR_INIT;
    begin(1 << 20);
    struct vfs_file *from = create("from", &from_ino), *to = create("to", &to_ino);
    CHECK_RC(write_bytes(to, 0, 1, 1), RC_OK);
    CHECK_EQ(byte_at(to, 0), 1);
    CHECK_RC(write_bytes(from, 0, 1, 2), RC_OK);
    CHECK_RC(write_bytes(to, 0, 1, 3), RC_OK);
    CHECK_OK(vfs_copy_range(from, 0, to, 0, 1, &caller, &copied, &e), &e);
    CHECK_EQ(copied, 1);
    CHECK_EQ(byte_at(to, 0), 2);
    CHECK_RC(write_bytes(to, 0, 1, 4), RC_OK);
    CHECK_EQ(byte_at(to, 0), 4);
    CHECK_EQ(byte_at(from, 0), 2);
    vfs_release(&from);
    vfs_release(&to);
    end();
}
