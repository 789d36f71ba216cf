#include "fs/cache/block.h"

#include <stdatomic.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/pool.h"
#include "fs/cache/disk.h"
#include "fs/cache/flight.h"

enum {
    FETCHES = 16,
    FETCHES_QUEUED_PER_THREAD = 4,
    KEEPERS = 2,
    KEEPS_QUEUED = 32,
    PREFETCH_PATIENCE_MS = 30000,
    TICK_MS = 1000,
    CROWDED_IDLE_MS = 1000, /* what read-ahead may push out of memory */
    SUMS_MAX = 64,          /* of 256 KiB in 16 MiB */
};

struct block_cache {
    struct volume *volume;
    struct memory *memory;
    struct flights *flights;
    struct disk_cache *disk; /* NULL: none */
    struct pool *fetchers;   /* read-ahead */
    struct pool *keepers;    /* write fetched blocks to the disk cache */
    struct pool *tender;     /* one job, for as long as the cache lives */

    struct lock lock; /* guards is_closing */
    struct lock_cond is_changed;
    bool is_closing;
};

METRIC_DEFINE(metric_memory_hits, METRIC_COUNTER, "tarn_block_cache_hits_total", "tier=\"memory\"",
              "reads of blocks answered from a cache")
METRIC_DEFINE(metric_disk_hits, METRIC_COUNTER, "tarn_block_cache_hits_total", "tier=\"disk\"",
              "reads of blocks answered from a cache")
METRIC_DEFINE(metric_misses, METRIC_COUNTER, "tarn_block_cache_misses_total", NULL,
              "reads of blocks that had to be fetched from a store")
METRIC_DEFINE(metric_hit_bytes, METRIC_COUNTER, "tarn_block_cache_hit_bytes_total", NULL,
              "bytes read from memory and disk cache")
METRIC_DEFINE(metric_miss_bytes, METRIC_COUNTER, "tarn_block_cache_miss_bytes_total", NULL,
              "bytes of blocks fetched from a store")
METRIC_DEFINE(metric_prefetches, METRIC_COUNTER, "tarn_block_cache_prefetches_total", NULL,
              "blocks fetched ahead of their reader")

/* ---- the background ---- */

static bool wait_tick(struct block_cache *c)
{
    const uint64_t until = clock_deadline(TICK_MS);
    LOCK_SCOPE(&c->lock);
    while (!c->is_closing && lock_wait(&c->is_changed, &c->lock, until))
        ;
    return !c->is_closing;
}

static void tend(void *arg)
{
    struct block_cache *c = arg;
    do {
        flights_expire(c->flights);
        memory_expire(c->memory);
        if (c->disk)
            disk_cache_tend(c->disk);
    } while (wait_tick(c));
}

/* ---- opening ---- */

static enum rc open_pools(struct block_cache *c, unsigned fetches, struct err *e)
{
    const struct pool_options fetchers = {.name = "fetch",
                                          .max_threads = fetches,
                                          .max_queued =
                                              (size_t)fetches * FETCHES_QUEUED_PER_THREAD};
    const struct pool_options keepers = {
        .name = "cachekeep", .max_threads = KEEPERS, .max_queued = KEEPS_QUEUED};
    const struct pool_options tender = {.name = "cachetend", .max_threads = 1, .max_queued = 1};

    enum rc rc = pool_open(&c->fetchers, &fetchers, e);
    if (!rc)
        rc = pool_open(&c->keepers, &keepers, e);
    if (!rc)
        rc = pool_open(&c->tender, &tender, e);
    if (!rc)
        rc = pool_submit(c->tender, tend, c, e);
    return rc;
}

static enum rc open_disk(struct block_cache *c, const struct block_cache_options *options,
                         struct err *e)
{
    if (!options->disk_dir || !*options->disk_dir)
        return RC_OK;
    const struct disk_cache_options disk = {
        .dir = options->disk_dir,
        .uuid = volume_uuid(options->volume),
        .hash_prefix = volume_hash_prefix(options->volume),
        .sum_bytes = meta_sum_bytes(volume_block_bytes(options->volume)),
        .max_bytes = options->disk_bytes,
        .free_ratio = options->free_ratio,
    };
    return disk_cache_open(&c->disk, &disk, e);
}

static void cleanup(struct block_cache **cache)
{
    block_cache_close(cache);
}

enum rc block_cache_open(struct block_cache **out, const struct block_cache_options *options,
                         struct err *e)
{
    __attribute__((cleanup(cleanup))) struct block_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "could not allocate the block cache");
    lock_init(&c->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&c->is_changed);
    c->volume = options->volume;
    enum rc rc =
        memory_open(&c->memory, options->memory_bytes, volume_block_bytes(options->volume), e);
    if (!rc)
        rc = flights_open(&c->flights, c->memory, e);
    if (!rc)
        rc = open_disk(c, options, e);
    if (!rc)
        rc = open_pools(c, options->max_fetches ? options->max_fetches : FETCHES, e);
    if (!rc)
        *out = take_pointer(&c);
    return rc;
}

static void stop_tending(struct block_cache *c)
{
    if (c->disk)
        disk_cache_stop(c->disk);
    lock_take(&c->lock);
    c->is_closing = true;
    lock_broadcast(&c->is_changed);
    lock_drop(&c->lock);
    pool_close(&c->tender);
}

void block_cache_close(struct block_cache **cache)
{
    struct block_cache *c = *cache;
    if (!c)
        return;
    *cache = NULL;
    stop_tending(c);
    pool_close(&c->fetchers);
    pool_close(&c->keepers);
    disk_cache_close(&c->disk);
    flights_close(&c->flights);
    memory_close(&c->memory);
    lock_cond_deinit(&c->is_changed);
    lock_deinit(&c->lock);
    free(c);
}

/* ---- fetching ---- */

/* A membership on its way to the disk cache. */
struct keep {
    struct block_cache *cache;
    struct flight *flight;
};

static void run_keep(void *arg)
{
    struct keep *k = arg;
    disk_cache_put(k->cache->disk, k->flight->block, k->flight->data);
    flight_leave(k->cache->flights, &k->flight);
    free(k);
}

/* Hand a landed flight, membership and all, to the keepers; when they are busy it is not kept. */
static void keep_or_leave(struct block_cache *c, struct flight **flight)
{
    struct err busy = ERR_INIT;
    struct keep *k = c->disk ? malloc(sizeof(*k)) : NULL;
    if (k) {
        *k = (struct keep){.cache = c, .flight = *flight};
        if (pool_submit(c->keepers, run_keep, k, &busy) == RC_OK) {
            *flight = NULL;
            return;
        }
        free(k);
    }
    flight_leave(c->flights, flight);
}

/* The leader's work: the data is filled and the flight landed, well or not. */
static enum rc fetch(struct block_cache *c, struct flight *flight, struct block_sums sums,
                     uint64_t deadline_ms, struct err *e)
{
    enum rc rc = volume_get_block(c->volume, flight->block, sums, flight->data, deadline_ms, e);
    flight_land(c->flights, flight, rc);
    if (!rc)
        metric_add(&metric_miss_bytes, flight->block.size);
    return rc;
}

static void copy_out(struct block_cache *c, struct flight *flight, uint32_t off, uint32_t len,
                     uint8_t *out)
{
    memcpy(out, flight->data + off, len);
    if (off + len == flight->block.size)
        flight_spend(c->flights, flight);
}

static enum rc lead(struct block_cache *c, struct flight **flight, struct block_sums sums,
                    uint32_t off, uint32_t len, uint8_t *out, uint64_t deadline_ms, struct err *e)
{
    metric_add(&metric_misses, 1);
    enum rc rc = fetch(c, *flight, sums, deadline_ms, e);
    if (rc) {
        flight_leave(c->flights, flight);
        return rc;
    }
    copy_out(c, *flight, off, len, out);
    keep_or_leave(c, flight);
    return RC_OK;
}

static enum rc follow(struct block_cache *c, struct flight **flight, struct block_id block,
                      uint32_t off, uint32_t len, uint8_t *out, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = flight_wait(c->flights, *flight, deadline_ms, e);
    if (!rc && (*flight)->block.size != block.size)
        rc = err_fail(e, RC_CORRUPT, "block %llu_%u is recorded with two sizes, %u and %u",
                      (unsigned long long)block.slice, block.indx, block.size,
                      (*flight)->block.size);
    if (!rc) {
        copy_out(c, *flight, off, len, out);
        metric_add(&metric_memory_hits, 1);
        metric_add(&metric_hit_bytes, len);
    }
    flight_leave(c->flights, flight);
    return rc;
}

static bool read_from_disk(struct block_cache *c, struct block_id block, struct block_sums sums,
                           uint32_t off, uint32_t len, uint8_t *out)
{
    struct err ignored = ERR_INIT; /* every reason means: fetch it */
    if (!c->disk || disk_cache_read(c->disk, block, sums, off, len, out, &ignored))
        return false;
    metric_add(&metric_disk_hits, 1);
    metric_add(&metric_hit_bytes, len);
    return true;
}

enum rc block_cache_read(struct block_cache *c, struct block_id block, struct block_sums sums,
                         uint32_t off, uint32_t len, uint8_t *out, uint64_t deadline_ms,
                         struct err *e)
{
    enum flight_role role = FLIGHT_READY;
    enum rc rc = RC_OK;

    if (off > block.size || len > block.size - off)
        return err_fail(e, RC_INVALID, "a read past the end of block %llu_%u",
                        (unsigned long long)block.slice, block.indx);
    struct flight *flight = flight_peek(c->flights, block, &role);
    if (!flight && read_from_disk(c, block, sums, off, len, out))
        return RC_OK;
    do {
        if (!flight) {
            rc = flight_join(c->flights, block, false, &flight, &role, e);
            if (rc)
                return rc;
        }
        if (role == FLIGHT_LEADS)
            return lead(c, &flight, sums, off, len, out, deadline_ms, e);
        rc = follow(c, &flight, block, off, len, out, deadline_ms, e);
        /* The leader's patience may have been shorter than ours. */
    } while (rc == RC_TIMEOUT && clock_left(deadline_ms) > 0);
    return rc;
}

/* ---- read-ahead ---- */

struct prefetch {
    struct block_cache *cache;
    struct flight *flight;
    struct block_sums sums;
    uint32_t sums_copy[SUMS_MAX];
};

static void run_prefetch(void *arg)
{
    struct prefetch *p = arg;
    struct err e = ERR_INIT;

    if (fetch(p->cache, p->flight, p->sums, clock_deadline(PREFETCH_PATIENCE_MS), &e)) {
        log_err(LOG_LEVEL_DEBUG, &e, "could not read ahead");
        flight_leave(p->cache->flights, &p->flight);
    } else {
        keep_or_leave(p->cache, &p->flight);
    }
    free(p);
}

static struct prefetch *prefetch_new(struct block_cache *c, struct flight *flight,
                                     struct block_sums sums)
{
    struct prefetch *p = malloc(sizeof(*p));
    if (!p)
        return NULL;
    p->cache = c;
    p->flight = flight;
    p->sums = (struct block_sums){NULL, 0};
    if (sums.sums) {
        memcpy(p->sums_copy, sums.sums, sums.count * sizeof(*sums.sums));
        p->sums = (struct block_sums){p->sums_copy, sums.count};
    }
    return p;
}

void block_cache_prefetch(struct block_cache *c, struct block_id block, struct block_sums sums)
{
    struct err dropped = ERR_INIT;
    struct flight *flight = NULL;
    enum flight_role role = FLIGHT_READY;

    if (sums.count > SUMS_MAX || (c->disk && disk_cache_has(c->disk, block)))
        return;
    enum rc rc = flight_join(c->flights, block, true, &flight, &role, &dropped);
    if (rc == RC_NO_SPACE) {
        flights_trim(c->flights, CROWDED_IDLE_MS);
        rc = flight_join(c->flights, block, true, &flight, &role, &dropped);
    }
    if (rc)
        return;
    struct prefetch *p = prefetch_new(c, flight, sums);
    if (p && pool_submit(c->fetchers, run_prefetch, p, &dropped) == RC_OK) {
        metric_add(&metric_prefetches, 1);
        return;
    }
    free(p);
    /* A reader may have begun to follow: it comes back as the leader. */
    flight_land(c->flights, flight, RC_TIMEOUT);
    flight_leave(c->flights, &flight);
}

void block_cache_keep(struct block_cache *c, struct block_id block, const uint8_t *plain)
{
    if (c->disk)
        disk_cache_put(c->disk, block, plain);
}

enum rc block_cache_warm(struct block_cache *c, struct block_id block, struct block_sums sums,
                         uint64_t deadline_ms, struct err *e)
{
    if (block_cache_has(c, block))
        return RC_OK;
    auto_free uint8_t *plain = malloc(block.size);
    if (!plain)
        return err_fail(e, RC_NO_SPACE, "could not allocate a block of %u bytes", block.size);
    if (block_cache_read(c, block, sums, 0, block.size, plain, deadline_ms, e))
        return e->code;
    /* The keepers may have been too busy to take it, or be at it: the same bytes either way. */
    if (c->disk && !disk_cache_has(c->disk, block))
        disk_cache_put(c->disk, block, plain);
    return RC_OK;
}

bool block_cache_has(struct block_cache *c, struct block_id block)
{
    return c->disk && disk_cache_has(c->disk, block);
}

void block_cache_evict(struct block_cache *c, struct block_id block)
{
    if (c->disk)
        disk_cache_evict(c->disk, block);
}

void block_cache_usage(struct block_cache *c, uint64_t *bytes, uint64_t *blocks)
{
    *bytes = *blocks = 0;
    if (c->disk)
        disk_cache_usage(c->disk, bytes, blocks);
}

struct memory *block_cache_memory(struct block_cache *c)
{
    return c->memory;
}

void block_cache_trim(struct block_cache *c)
{
    flights_trim(c->flights, 0);
}
