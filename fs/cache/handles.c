#include "fs/cache/handles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/cache/trailer.h"

enum {
    SLOTS = 64,
    IDLE_MS = 5000,
};

struct handles {
    uint32_t sum_bytes;
    struct lock lock; /* guards the table and the counts in its handles */
    struct handle *slots[SLOTS];
};

enum rc handles_open(struct handles **out, uint32_t sum_bytes, struct err *e)
{
    struct handles *h = calloc(1, sizeof(*h));
    if (!h)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of cached files");
    h->sum_bytes = sum_bytes;
    lock_init(&h->lock, LOCK_CACHE_DISK);
    *out = h;
    return RC_OK;
}

static void handle_free(struct handle *handle)
{
    if (!handle)
        return;
    if (handle->fd >= 0)
        (void)close(handle->fd);
    free(handle->trailer);
    free(handle);
}

static void handle_cleanup(struct handle **handle)
{
    handle_free(*handle);
}

void handles_close(struct handles **handles)
{
    struct handles *h = *handles;
    if (!h)
        return;
    *handles = NULL;
    for (unsigned i = 0; i < SLOTS; i++)
        handle_free(h->slots[i]);
    lock_deinit(&h->lock);
    free(h);
}

static bool is_block(const struct handle *handle, struct block_id block)
{
    return handle && handle->block.slice == block.slice && handle->block.indx == block.indx &&
           handle->block.size == block.size;
}

static struct handle *find_locked(struct handles *h, struct block_id block)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (is_block(h->slots[i], block))
            return h->slots[i];
    }
    return NULL;
}

/* Take a handle out of the table; it is freed here or by its last user. */
static void remove_locked(struct handles *h, unsigned slot)
{
    struct handle *handle = h->slots[slot];
    h->slots[slot] = NULL;
    handle->is_dropped = true;
    if (handle->users == 0)
        handle_free(handle);
}

/* An empty slot, or the one that was idle longest; SLOTS when all are in use. */
static unsigned free_slot_locked(struct handles *h)
{
    unsigned oldest = SLOTS;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (!h->slots[i])
            return i;
        if (h->slots[i]->users == 0 &&
            (oldest == SLOTS || h->slots[i]->used_ms < h->slots[oldest]->used_ms))
            oldest = i;
    }
    if (oldest != SLOTS)
        remove_locked(h, oldest);
    return oldest;
}

static enum rc read_trailer(struct handle *handle, const char *path, struct err *e)
{
    const uint32_t bytes = 4 * trailer_count(handle->block.size);
    struct stat st;

    if (fstat(handle->fd, &st) == -1)
        return err_os(e, errno, "could not look at cached block \"%s\"", path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != (uint64_t)handle->block.size + bytes)
        return err_fail(e, RC_CORRUPT, "cached block \"%s\" has the wrong length", path);
    handle->trailer = malloc(bytes);
    if (!handle->trailer)
        return err_fail(e, RC_NO_SPACE, "could not allocate the trailer of \"%s\"", path);
    ssize_t got = pread(handle->fd, handle->trailer, bytes, (off_t)handle->block.size);
    if (got == -1)
        return err_os(e, errno, "could not read the trailer of cached block \"%s\"", path);
    if (got != (ssize_t)bytes)
        return err_fail(e, RC_CORRUPT, "cached block \"%s\" was cut", path);
    return RC_OK;
}

static enum rc open_file(struct block_id block, const char *path, struct handle **out,
                         struct err *e)
{
    __attribute__((cleanup(handle_cleanup))) struct handle *handle = calloc(1, sizeof(*handle));
    if (!handle)
        return err_fail(e, RC_NO_SPACE, "could not allocate a handle");
    handle->block = block;
    handle->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (handle->fd == -1)
        return err_os(e, errno, "could not open cached block \"%s\"", path);
    enum rc rc = read_trailer(handle, path, e);
    if (rc)
        return rc;
    *out = take_pointer(&handle);
    return RC_OK;
}

/* Put a new handle into the table, with one user. When the table is full it is used once. */
static void share_locked(struct handles *h, struct handle *handle)
{
    handle->users = 1;
    handle->used_ms = clock_ms();
    unsigned slot = find_locked(h, handle->block) ? SLOTS : free_slot_locked(h);
    if (slot == SLOTS)
        handle->is_dropped = true;
    else
        h->slots[slot] = handle;
}

static struct handle *use_shared(struct handles *h, struct block_id block)
{
    LOCK_SCOPE(&h->lock);
    struct handle *handle = find_locked(h, block);
    if (handle)
        handle->users++;
    return handle;
}

static bool needs_agreement(struct handles *h, const struct handle *handle, struct block_sums sums)
{
    LOCK_SCOPE(&h->lock);
    return sums.sums && !handle->is_agreed;
}

static enum rc agree(struct handles *h, struct handle *handle, struct block_sums sums,
                     struct err *e)
{
    if (!needs_agreement(h, handle, sums))
        return RC_OK;
    if (!trailer_agrees(handle->trailer, handle->block.size, sums.sums, sums.count, h->sum_bytes))
        return err_fail(e, RC_CORRUPT, "cached block %llu_%u has the sums of another block",
                        (unsigned long long)handle->block.slice, handle->block.indx);
    LOCK_SCOPE(&h->lock);
    handle->is_agreed = true;
    return RC_OK;
}

enum rc handles_get(struct handles *h, struct block_id block, struct block_sums sums,
                    const char *path, struct handle **out, struct err *e)
{
    struct handle *handle = use_shared(h, block);
    if (!handle) {
        enum rc rc = open_file(block, path, &handle, e);
        if (rc)
            return rc;
        LOCK_SCOPE(&h->lock);
        share_locked(h, handle);
    }
    enum rc rc = agree(h, handle, sums, e);
    if (rc) {
        handles_put(h, handle);
        return rc;
    }
    *out = handle;
    return RC_OK;
}

void handles_put(struct handles *h, struct handle *handle)
{
    LOCK_SCOPE(&h->lock);
    handle->users--;
    handle->used_ms = clock_ms();
    if (handle->is_dropped && handle->users == 0)
        handle_free(handle);
}

void handles_drop(struct handles *h, struct block_id block)
{
    LOCK_SCOPE(&h->lock);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (is_block(h->slots[i], block))
            remove_locked(h, i);
    }
}

void handles_expire(struct handles *h)
{
    const uint64_t now = clock_ms();
    LOCK_SCOPE(&h->lock);
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct handle *handle = h->slots[i];
        if (handle && handle->users == 0 && now - handle->used_ms >= IDLE_MS)
            remove_locked(h, i);
    }
}
