/*
 * The background of the disk cache. Ownership decides who evicts: with two evictors, each would
 * count only what it knows of, and both would throw away twice too much.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/cache/disk_state.h"

enum {
    SCAN_DEPTH = 5, /* raw / chunks / a / b / file */
    EVICT_PER_TICK = 2000,
    TEMP_IDLE_S = 600, /* a temporary file that old has lost its writer */
};

METRIC_DEFINE(metric_evictions, METRIC_COUNTER, "tarn_block_cache_evictions_total", NULL,
              "blocks removed from the disk cache to make room")
METRIC_DEFINE(metric_bytes, METRIC_GAUGE, "tarn_block_cache_bytes", NULL, "bytes in the disk cache")
METRIC_DEFINE(metric_blocks, METRIC_GAUGE, "tarn_block_cache_blocks", NULL,
              "blocks in the disk cache")

static bool pick_victim(struct disk_cache *c, uint64_t wanted, struct block_id *out)
{
    LOCK_SCOPE(&c->lock);
    return block_index_bytes(c->index) + wanted > c->max_bytes && block_index_pick(c->index, out);
}

static void evict_counted(struct disk_cache *c, struct block_id block)
{
    disk_cache_evict(c, block);
    metric_add(&metric_evictions, 1);
}

void disk_make_room(struct disk_cache *c, uint64_t wanted, unsigned limit)
{
    struct block_id victim;
    while (atomic_load(&c->is_owner) && limit-- && pick_victim(c, wanted, &victim))
        evict_counted(c, victim);
}

/* ---- scan ---- */

static void found_file(struct disk_cache *c, const char *key)
{
    struct err e = ERR_INIT;
    struct block_id block;

    if (block_key_parse(key, &block, &e))
        return; /* not ours: leave it alone */
    LOCK_SCOPE(&c->lock);
    /* Without a time: older than whatever has been used since. */
    (void)!block_index_put(c->index, block, 0, &e);
}

/* Walk <root>/raw; path is its name so far, key where the key begins in it. */
static void scan_dir(struct disk_cache *c, char path[DISK_PATH_BYTES], size_t key_at, int depth)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    const size_t length = strlen(path);
    for (struct dirent *d = readdir(dir); d && !atomic_load(&c->is_stopping); d = readdir(dir)) {
        if (d->d_name[0] == '.' || length + strlen(d->d_name) + 2 > DISK_PATH_BYTES)
            continue;
        (void)snprintf(path + length, DISK_PATH_BYTES - length, "/%s", d->d_name);
        if (d->d_type == DT_DIR && depth > 1)
            scan_dir(c, path, key_at, depth - 1);
        else if (d->d_type == DT_REG)
            found_file(c, path + key_at);
        path[length] = '\0';
    }
    (void)closedir(dir);
}

static void scan_blocks(struct disk_cache *c)
{
    char path[DISK_PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/raw", c->root);
    scan_dir(c, path, (size_t)length + 1, SCAN_DEPTH);
}

/* Remove what writers that died have left. */
static void sweep_temps(struct disk_cache *c)
{
    char path[DISK_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/tmp", c->root);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    const time_t old = clock_wall().tv_sec - TEMP_IDLE_S;
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        struct stat st;
        if (d->d_type == DT_REG && fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_mtime < old)
            (void)unlinkat(dirfd(dir), d->d_name, 0);
    }
    (void)closedir(dir);
}

/* ---- ownership ---- */

static void open_lock_file(struct disk_cache *c)
{
    char path[DISK_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/lock", c->root);
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Forget a lock file that was removed with its directory: its lock excludes nobody any more. */
static void check_lock_file(struct disk_cache *c)
{
    struct stat st;
    if (c->lock_fd >= 0 && (fstat(c->lock_fd, &st) == -1 || st.st_nlink == 0)) {
        (void)close(c->lock_fd);
        c->lock_fd = -1;
        atomic_store(&c->is_owner, false);
    }
    if (c->lock_fd < 0)
        open_lock_file(c);
}

static bool is_dated_anew(struct disk_cache *c)
{
    struct stat st;
    if (fstat(c->lock_fd, &st) == -1)
        return false;
    bool is_new =
        st.st_mtim.tv_sec != c->scanned.tv_sec || st.st_mtim.tv_nsec != c->scanned.tv_nsec;
    c->scanned = st.st_mtim;
    return is_new;
}

static void tend_ownership(struct disk_cache *c)
{
    check_lock_file(c);
    if (c->lock_fd < 0)
        return;
    if (!atomic_load(&c->is_owner)) {
        if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == -1) {
            if (atomic_exchange(&c->has_added, false))
                (void)futimens(c->lock_fd, NULL);
            return;
        }
        atomic_store(&c->is_owner, true);
        (void)is_dated_anew(c);
        sweep_temps(c);
        scan_blocks(c);
    } else if (is_dated_anew(c)) {
        scan_blocks(c);
    }
}

/* ---- space ---- */

/* Bytes that must go so that free_ratio of the file system is free. */
static uint64_t bytes_short(const struct disk_cache *c)
{
    struct statvfs fs;
    if (statvfs(c->root, &fs) == -1)
        return 0;
    const uint64_t wanted = (uint64_t)((double)fs.f_blocks * c->free_ratio);
    return fs.f_bavail < wanted ? (wanted - fs.f_bavail) * fs.f_frsize : 0;
}

static void tend_space(struct disk_cache *c)
{
    struct block_id victim;
    uint64_t shortage = bytes_short(c);

    for (unsigned n = 0; shortage && n < EVICT_PER_TICK && atomic_load(&c->is_owner); n++) {
        lock_take(&c->lock);
        bool has_victim = block_index_pick(c->index, &victim);
        lock_drop(&c->lock);
        if (!has_victim)
            break;
        evict_counted(c, victim);
        shortage = shortage > victim.size ? shortage - victim.size : 0;
    }
    atomic_store(&c->is_short, shortage != 0);
    disk_make_room(c, 0, EVICT_PER_TICK);
}

static void publish_usage(struct disk_cache *c)
{
    uint64_t bytes, blocks;
    disk_cache_usage(c, &bytes, &blocks);
    metric_set(&metric_bytes, (int64_t)bytes);
    metric_set(&metric_blocks, (int64_t)blocks);
}

/* After trouble: is the directory usable again? */
static bool is_usable(struct disk_cache *c)
{
    const uint64_t until = atomic_load(&c->no_writes_until_ms);
    struct err e = ERR_INIT;

    if (until == 0)
        return true;
    if (clock_ms() < until)
        return false;
    if (disk_prepare(c, &e)) {
        disk_bypass(c, false, &e);
        return false;
    }
    atomic_store(&c->no_writes_until_ms, 0);
    return true;
}

void disk_cache_tend(struct disk_cache *c)
{
    if (is_usable(c)) {
        tend_ownership(c);
        tend_space(c);
    }
    handles_expire(c->handles);
    publish_usage(c);
}
