#include "fs/cache/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/cache/disk_state.h"
#include "fs/cache/trailer.h"

enum {
    BYPASS_MS = 10000,
    LOG_EVERY_MS = 60000,
    EVICT_PER_PUT = 8,
};

METRIC_DEFINE(metric_corrupt, METRIC_COUNTER, "tarn_block_cache_corrupt_total", NULL,
              "cached block files that failed their sums and were evicted")
METRIC_DEFINE(metric_bypass, METRIC_COUNTER, "tarn_block_cache_bypass_total", NULL,
              "blocks not kept because the cache directory was full, read-only or gone")

static uint64_t now_s(void)
{
    return clock_ms() / 1000 + 1;
}

static void block_path(const struct disk_cache *c, struct block_id block, char out[DISK_PATH_BYTES])
{
    char key[BLOCK_KEY_BYTES];
    block_key(key, c->hash_prefix, block);
    (void)snprintf(out, DISK_PATH_BYTES, "%s/raw/%s", c->root, key);
}

/* ---- opening ---- */

static enum rc make_dir(const char *path, struct err *e)
{
    if (mkdir(path, 0700) == -1 && errno != EEXIST)
        return err_os(e, errno, "could not make cache directory \"%s\"", path);
    return RC_OK;
}

/* Make path and its parents. */
static enum rc make_dirs(const char *path, struct err *e)
{
    char part[DISK_PATH_BYTES];
    (void)snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        enum rc rc = make_dir(part, e);
        *slash = '/';
        if (rc)
            return rc;
    }
    return make_dir(part, e);
}

/* Cached blocks are plaintext, and believed: nobody else may read or write them. */
static enum rc check_private(const char *path, struct err *e)
{
    struct stat st;
    if (lstat(path, &st) == -1)
        return err_os(e, errno, "could not look at cache directory \"%s\"", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return err_fail(e, RC_DENIED, "cache directory \"%s\" belongs to somebody else", path);
    if ((st.st_mode & 077) && chmod(path, 0700) == -1)
        return err_os(e, errno, "could not make cache directory \"%s\" private", path);
    return RC_OK;
}

enum rc disk_prepare(struct disk_cache *c, struct err *e)
{
    static const char *const parts[] = {"raw", "tmp"};
    enum rc rc = make_dirs(c->root, e);
    if (!rc)
        rc = check_private(c->root, e);
    for (size_t i = 0; !rc && i < sizeof(parts) / sizeof(parts[0]); i++) {
        char path[DISK_PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%s", c->root, parts[i]);
        rc = make_dir(path, e);
    }
    return rc;
}

static void disk_cleanup(struct disk_cache **cache)
{
    disk_cache_close(cache);
}

enum rc disk_cache_open(struct disk_cache **out, const struct disk_cache_options *options,
                        struct err *e)
{
    if (strlen(options->dir) > DISK_PATH_BYTES / 2)
        return err_fail(e, RC_INVALID, "the name of the cache directory is too long");

    __attribute__((cleanup(disk_cleanup))) struct disk_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "could not allocate the disk cache");
    lock_init(&c->lock, LOCK_CACHE_DISK);
    c->lock_fd = -1;
    c->hash_prefix = options->hash_prefix;
    c->max_bytes = options->max_bytes;
    c->free_ratio = options->free_ratio;
    if (asprintf(&c->root, "%s/%s", options->dir, options->uuid) == -1) {
        c->root = NULL;
        return err_fail(e, RC_NO_SPACE, "could not allocate the disk cache");
    }
    enum rc rc = block_index_open(&c->index, e);
    if (!rc)
        rc = handles_open(&c->handles, options->sum_bytes, e);
    if (rc)
        return rc;
    struct err unusable = ERR_INIT;
    if (disk_prepare(c, &unusable))
        disk_bypass(c, false, &unusable);
    *out = take_pointer(&c);
    return RC_OK;
}

void disk_cache_close(struct disk_cache **cache)
{
    struct disk_cache *c = *cache;
    if (!c)
        return;
    *cache = NULL;
    if (c->lock_fd >= 0)
        (void)close(c->lock_fd);
    handles_close(&c->handles);
    block_index_close(&c->index);
    lock_deinit(&c->lock);
    free(c->root);
    free(c);
}

void disk_cache_stop(struct disk_cache *c)
{
    atomic_store(&c->is_stopping, true);
}

/* ---- trouble ---- */

void disk_bypass(struct disk_cache *c, bool for_reads, const struct err *e)
{
    const uint64_t now = clock_ms();
    uint64_t logged = atomic_load(&c->logged_ms);

    atomic_store(for_reads ? &c->no_reads_until_ms : &c->no_writes_until_ms, now + BYPASS_MS);
    if ((logged == 0 || now - logged >= LOG_EVERY_MS) &&
        atomic_compare_exchange_strong(&c->logged_ms, &logged, now))
        log_err(LOG_LEVEL_WARN, e, "the disk cache \"%s\" is bypassed for a while", c->root);
}

/* Take a block out of the index and remove its file. */
void disk_cache_evict(struct disk_cache *c, struct block_id block)
{
    char path[DISK_PATH_BYTES];

    lock_take(&c->lock);
    (void)block_index_remove(c->index, block);
    lock_drop(&c->lock);
    handles_drop(c->handles, block);
    block_path(c, block, path);
    /* A name that is gone already, or cannot be removed now, is found by the next scan. */
    (void)unlink(path);
}

/* ---- reading ---- */

static enum rc read_exactly(int fd, uint8_t *out, uint32_t len, uint32_t off, struct err *e)
{
    while (len) {
        ssize_t got = pread(fd, out, len, (off_t)off);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            return err_os(e, errno, "could not read a cached block");
        if (got == 0)
            return err_fail(e, RC_CORRUPT, "a cached block was cut");
        out += got;
        off += (uint32_t)got;
        len -= (uint32_t)got;
    }
    return RC_OK;
}

/* Read pieces first… of a block and check them. len: whole pieces, but for the block's last. */
static enum rc read_pieces(const struct handle *h, uint32_t first, uint32_t len, uint8_t *out,
                           struct err *e)
{
    enum rc rc = read_exactly(h->fd, out, len, first * TRAILER_PIECE, e);
    if (!rc && !trailer_check(h->trailer, first, out, len))
        rc = err_fail(e, RC_CORRUPT, "cached block %llu_%u fails its sums",
                      (unsigned long long)h->block.slice, h->block.indx);
    return rc;
}

/* The part [off, off+len) of one piece, by way of a buffer. */
static enum rc read_within(const struct handle *h, uint32_t off, uint32_t len, uint8_t *out,
                           struct err *e)
{
    uint8_t piece[TRAILER_PIECE];
    const uint32_t first = off / TRAILER_PIECE, start = first * TRAILER_PIECE;
    const uint32_t left = h->block.size - start;

    enum rc rc = read_pieces(h, first, left < TRAILER_PIECE ? left : TRAILER_PIECE, piece, e);
    if (!rc)
        memcpy(out, piece + (off - start), len);
    return rc;
}

/* Whole pieces go straight into the caller's buffer, the ragged ends by way of another. */
static enum rc read_range(const struct handle *h, uint32_t off, uint32_t len, uint8_t *out,
                          struct err *e)
{
    enum rc rc = RC_OK;
    while (!rc && len) {
        const uint32_t in_piece = off % TRAILER_PIECE;
        uint32_t n = TRAILER_PIECE - in_piece;
        if (in_piece == 0 && off + len == h->block.size)
            n = len;
        else if (in_piece == 0 && len >= TRAILER_PIECE)
            n = len - len % TRAILER_PIECE;
        bool is_whole = in_piece == 0 && n <= len;
        if (n > len)
            n = len;
        rc = is_whole ? read_pieces(h, off / TRAILER_PIECE, n, out, e)
                      : read_within(h, off, n, out, e);
        off += n;
        out += n;
        len -= n;
    }
    return rc;
}

static enum rc read_block(struct disk_cache *c, struct block_id block, struct block_sums sums,
                          uint32_t off, uint32_t len, uint8_t *out, struct err *e)
{
    char path[DISK_PATH_BYTES];
    struct handle *h = NULL;

    block_path(c, block, path);
    enum rc rc = handles_get(c->handles, block, sums, path, &h, e);
    if (rc)
        return rc;
    rc = read_range(h, off, len, out, e);
    handles_put(c->handles, h);
    return rc;
}

static void note_used(struct disk_cache *c, struct block_id block)
{
    struct err ignored = ERR_INIT; /* a block that is not in the index is found by the next scan */
    LOCK_SCOPE(&c->lock);
    (void)!block_index_put(c->index, block, now_s(), &ignored);
}

static void note_missing(struct disk_cache *c, struct block_id block)
{
    LOCK_SCOPE(&c->lock);
    (void)block_index_remove(c->index, block);
}

enum rc disk_cache_read(struct disk_cache *c, struct block_id block, struct block_sums sums,
                        uint32_t off, uint32_t len, uint8_t *out, struct err *e)
{
    if (clock_ms() < atomic_load(&c->no_reads_until_ms))
        return err_fail(e, RC_NOT_FOUND, "the disk cache is bypassed");
    struct err why = ERR_INIT;
    enum rc rc = read_block(c, block, sums, off, len, out, &why);
    if (rc == RC_OK) {
        note_used(c, block);
        return RC_OK;
    }
    if (rc == RC_CORRUPT) {
        metric_add(&metric_corrupt, 1);
        log_err(LOG_LEVEL_WARN, &why, "evicted a bad block from the disk cache \"%s\"", c->root);
        disk_cache_evict(c, block);
    } else if (rc == RC_NOT_FOUND) {
        note_missing(c, block);
    } else {
        disk_bypass(c, true, &why);
    }
    return err_fail(e, RC_NOT_FOUND, "block %llu_%u is not in the disk cache",
                    (unsigned long long)block.slice, block.indx);
}

bool disk_cache_has(struct disk_cache *c, struct block_id block)
{
    char path[DISK_PATH_BYTES];

    lock_take(&c->lock);
    bool is_known = block_index_has(c->index, block);
    lock_drop(&c->lock);
    if (is_known)
        return true;
    block_path(c, block, path);
    return access(path, R_OK) == 0;
}

/* ---- keeping ---- */

static enum rc write_all(int fd, struct iovec *parts, int count, struct err *e)
{
    while (count) {
        ssize_t done = writev(fd, parts, count);
        if (done == -1 && errno == EINTR)
            continue;
        if (done == -1)
            return err_os(e, errno, "could not write a cached block");
        for (; count && (size_t)done >= parts->iov_len; parts++, count--)
            done -= (ssize_t)parts->iov_len;
        if (count) {
            parts->iov_base = (uint8_t *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
    return RC_OK;
}

static enum rc write_temp(const char *temp, struct block_id block, const uint8_t *plain,
                          struct err *e)
{
    const uint32_t trailer_bytes = 4 * trailer_count(block.size);
    auto_free uint8_t *trailer = malloc(trailer_bytes);
    if (!trailer)
        return err_fail(e, RC_NO_SPACE, "could not allocate a trailer");
    trailer_make(plain, block.size, trailer);

    auto_close int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -1)
        return err_os(e, errno, "could not create \"%s\"", temp);
    struct iovec parts[] = {
        {.iov_base = (void *)(uintptr_t)plain, .iov_len = block.size},
        {.iov_base = trailer, .iov_len = trailer_bytes},
    };
    return write_all(fd, parts, 2, e);
}

/* Give the file its name, making the directories of the key when this is their first block. */
static enum rc publish(const char *temp, char *path, struct err *e)
{
    if (rename(temp, path) == 0)
        return RC_OK;
    if (errno != ENOENT)
        return err_os(e, errno, "could not name cached block \"%s\"", path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    enum rc rc = make_dirs(path, e);
    *slash = '/';
    if (!rc && rename(temp, path) == -1)
        rc = err_os(e, errno, "could not name cached block \"%s\"", path);
    return rc;
}

static enum rc put_block(struct disk_cache *c, struct block_id block, const uint8_t *plain,
                         struct err *e)
{
    char temp[DISK_PATH_BYTES], path[DISK_PATH_BYTES];

    (void)snprintf(temp, sizeof(temp), "%s/tmp/%ld.%llu", c->root, (long)getpid(),
                   (unsigned long long)atomic_fetch_add(&c->next_temp, 1));
    block_path(c, block, path);
    enum rc rc = write_temp(temp, block, plain, e);
    if (!rc)
        rc = publish(temp, path, e);
    if (rc)
        (void)unlink(temp);
    return rc;
}

void disk_cache_put(struct disk_cache *c, struct block_id block, const uint8_t *plain)
{
    if (block.size > c->max_bytes)
        return;
    if (atomic_load(&c->is_short) || clock_ms() < atomic_load(&c->no_writes_until_ms)) {
        metric_add(&metric_bypass, 1);
        return;
    }
    disk_make_room(c, block.size, EVICT_PER_PUT);
    struct err e = ERR_INIT;
    if (put_block(c, block, plain, &e)) {
        metric_add(&metric_bypass, 1);
        disk_bypass(c, false, &e);
        return;
    }
    atomic_store(&c->has_added, true);
    note_used(c, block);
}

void disk_cache_usage(struct disk_cache *c, uint64_t *bytes, uint64_t *blocks)
{
    LOCK_SCOPE(&c->lock);
    *bytes = block_index_bytes(c->index);
    *blocks = block_index_count(c->index);
}
