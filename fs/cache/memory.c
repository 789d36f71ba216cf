#include "fs/cache/memory.h"

#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/metric.h"

enum {
    SPARE_MAX = 16,
    SPARE_IDLE_MS = 2000,
};

struct memory {
    size_t whole_bytes;

    struct lock lock; /* guards what follows */
    struct lock_cond is_freed;
    uint64_t limit_bytes;
    uint64_t used_bytes;
    unsigned spare_count;
    uint64_t spare_used_ms; /* when a spare was last taken or given */
    uint8_t *spares[SPARE_MAX];
};

METRIC_DEFINE(metric_used, METRIC_GAUGE, "tarn_buffer_bytes", NULL,
              "bytes of cached blocks and write buffers in memory")

enum rc memory_open(struct memory **out, uint64_t limit_bytes, size_t whole_bytes, struct err *e)
{
    struct memory *m = calloc(1, sizeof(*m));
    if (!m)
        return err_fail(e, RC_NO_SPACE, "could not allocate the memory budget");
    m->whole_bytes = whole_bytes;
    m->limit_bytes = limit_bytes;
    lock_init(&m->lock, LOCK_CACHE_MEMORY);
    lock_cond_init(&m->is_freed);
    *out = m;
    return RC_OK;
}

static void drop_spares(struct memory *m)
{
    while (m->spare_count)
        free(m->spares[--m->spare_count]);
}

void memory_close(struct memory **memory)
{
    struct memory *m = *memory;
    if (!m)
        return;
    *memory = NULL;
    drop_spares(m);
    lock_cond_deinit(&m->is_freed);
    lock_deinit(&m->lock);
    free(m);
}

void memory_set_limit(struct memory *m, uint64_t limit_bytes)
{
    LOCK_SCOPE(&m->lock);
    m->limit_bytes = limit_bytes;
    lock_broadcast(&m->is_freed);
}

/* Charge bytes and hand out a spare of that size if there is one. */
static uint8_t *charge_locked(struct memory *m, size_t bytes)
{
    m->used_bytes += bytes;
    metric_add(&metric_used, (int64_t)bytes);
    if (bytes != m->whole_bytes || m->spare_count == 0)
        return NULL;
    m->spare_used_ms = clock_ms();
    return m->spares[--m->spare_count];
}

static void discharge_locked(struct memory *m, size_t bytes)
{
    bool was_over = m->used_bytes > m->limit_bytes;
    m->used_bytes -= bytes;
    metric_add(&metric_used, -(int64_t)bytes);
    if (was_over)
        lock_broadcast(&m->is_freed);
}

static uint8_t *take(struct memory *m, size_t bytes, bool is_optional)
{
    lock_take(&m->lock);
    if (is_optional && m->used_bytes + bytes > m->limit_bytes) {
        lock_drop(&m->lock);
        return NULL;
    }
    uint8_t *data = charge_locked(m, bytes);
    lock_drop(&m->lock);
    if (data)
        return data;
    data = malloc(bytes);
    if (!data) {
        lock_take(&m->lock);
        discharge_locked(m, bytes);
        lock_drop(&m->lock);
    }
    return data;
}

uint8_t *memory_take(struct memory *m, size_t bytes)
{
    return take(m, bytes, false);
}

uint8_t *memory_try(struct memory *m, size_t bytes)
{
    return take(m, bytes, true);
}

uint8_t *memory_grow(struct memory *m, uint8_t *old, size_t old_bytes, size_t used,
                     size_t new_bytes)
{
    uint8_t *data = memory_take(m, new_bytes);
    if (!data)
        return NULL;
    if (used)
        memcpy(data, old, used);
    if (old)
        memory_give(m, old, old_bytes);
    return data;
}

void memory_give(struct memory *m, uint8_t *data, size_t bytes)
{
    if (!data)
        return;
    lock_take(&m->lock);
    discharge_locked(m, bytes);
    if (bytes == m->whole_bytes && m->spare_count < SPARE_MAX) {
        m->spares[m->spare_count++] = data;
        m->spare_used_ms = clock_ms();
        data = NULL;
    }
    lock_drop(&m->lock);
    free(data);
}

bool memory_is_over(struct memory *m)
{
    LOCK_SCOPE(&m->lock);
    return m->used_bytes > m->limit_bytes;
}

bool memory_wait(struct memory *m, uint64_t deadline_ms)
{
    LOCK_SCOPE(&m->lock);
    while (m->used_bytes > m->limit_bytes) {
        if (!lock_wait(&m->is_freed, &m->lock, deadline_ms))
            return m->used_bytes <= m->limit_bytes;
    }
    return true;
}

uint64_t memory_used(struct memory *m)
{
    LOCK_SCOPE(&m->lock);
    return m->used_bytes;
}

void memory_expire(struct memory *m)
{
    LOCK_SCOPE(&m->lock);
    if (m->spare_count && clock_ms() - m->spare_used_ms >= SPARE_IDLE_MS)
        drop_spares(m);
}
