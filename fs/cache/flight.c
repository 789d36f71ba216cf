#include "fs/cache/flight.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/lock.h"

enum { IDLE_MS = 5000 };

struct flights {
    struct memory *memory;
    struct lock lock; /* guards the table and the states in its flights */
    struct lock_cond has_landed;
    struct map64 *table;
};

/* Unique: a slice has at most 1024 blocks, and ids stay below 2^54. */
static uint64_t key_of(struct block_id block)
{
    return (block.slice << 10) | block.indx;
}

enum rc flights_open(struct flights **out, struct memory *memory, struct err *e)
{
    struct flights *f = calloc(1, sizeof(*f));
    if (!f)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of flights");
    if (map64_open(&f->table, e)) {
        free(f);
        return e->code;
    }
    f->memory = memory;
    lock_init(&f->lock, LOCK_CACHE_FLIGHT);
    lock_cond_init(&f->has_landed);
    *out = f;
    return RC_OK;
}

static void flight_free(struct flights *f, struct flight *flight)
{
    memory_give(f->memory, flight->data, flight->block.size);
    free(flight);
}

/* ---- removal of many: collect under the lock, as a map may not change while it is walked ---- */

struct harvest {
    bool takes_spent;
    uint64_t used_before_ms;
    size_t count;
    struct flight *found[64];
};

static bool harvest_one(uint64_t key, void *value, void *ctx)
{
    struct harvest *h = ctx;
    struct flight *flight = value;
    (void)key;
    bool is_due = flight->used_ms <= h->used_before_ms || (h->takes_spent && flight->is_spent);
    if (flight->members == 0 && is_due)
        h->found[h->count++] = flight;
    return h->count < sizeof(h->found) / sizeof(h->found[0]);
}

static void harvest_locked(struct flights *f, struct harvest *h)
{
    h->count = 0;
    map64_each(f->table, harvest_one, h);
    for (size_t i = 0; i < h->count; i++)
        (void)map64_remove(f->table, key_of(h->found[i]->block));
}

static void free_idle(struct flights *f, uint64_t idle_ms, bool takes_spent)
{
    const uint64_t now = clock_ms();
    struct harvest h = {.takes_spent = takes_spent,
                        .used_before_ms = now > idle_ms ? now - idle_ms : 0};
    do {
        lock_take(&f->lock);
        harvest_locked(f, &h);
        lock_drop(&f->lock);
        for (size_t i = 0; i < h.count; i++)
            flight_free(f, h.found[i]);
    } while (h.count);
}

void flights_expire(struct flights *f)
{
    free_idle(f, IDLE_MS, false);
}

void flights_trim(struct flights *f, uint64_t idle_ms)
{
    free_idle(f, idle_ms, true);
}

void flight_spend(struct flights *f, struct flight *flight)
{
    LOCK_SCOPE(&f->lock);
    flight->is_spent = true;
}

void flights_close(struct flights **flights)
{
    struct flights *f = *flights;
    if (!f)
        return;
    *flights = NULL;
    flights_trim(f, 0);
    map64_close(&f->table);
    lock_cond_deinit(&f->has_landed);
    lock_deinit(&f->lock);
    free(f);
}

/* ---- joining ---- */

static struct flight *find_locked(struct flights *f, struct block_id block, enum flight_role *role)
{
    struct flight *flight = map64_get(f->table, key_of(block));
    if (!flight)
        return NULL;
    flight->members++;
    *role = flight->state == FLIGHT_LANDED ? FLIGHT_READY : FLIGHT_FOLLOWS;
    return flight;
}

struct flight *flight_peek(struct flights *f, struct block_id block, enum flight_role *role)
{
    LOCK_SCOPE(&f->lock);
    return find_locked(f, block, role);
}

static struct flight *flight_new(struct flights *f, struct block_id block, bool is_optional)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    if (!flight)
        return NULL;
    flight->block = block;
    flight->members = 1;
    flight->data =
        is_optional ? memory_try(f->memory, block.size) : memory_take(f->memory, block.size);
    if (flight->data)
        return flight;
    free(flight);
    return NULL;
}

/* Enter the table unless somebody was faster, whom we then follow. */
static enum rc enter_locked(struct flights *f, struct flight *mine, struct flight **out,
                            enum flight_role *role, struct err *e)
{
    *out = find_locked(f, mine->block, role);
    if (*out)
        return RC_OK;
    enum rc rc = map64_put(f->table, key_of(mine->block), mine, e);
    if (rc)
        return rc;
    *role = FLIGHT_LEADS;
    *out = mine;
    return RC_OK;
}

enum rc flight_join(struct flights *f, struct block_id block, bool is_optional, struct flight **out,
                    enum flight_role *role, struct err *e)
{
    *out = flight_peek(f, block, role);
    if (*out && !is_optional)
        return RC_OK;
    if (*out) {
        flight_leave(f, out);
        return err_fail(e, RC_EXISTS, "the block is in memory already");
    }
    struct flight *mine = flight_new(f, block, is_optional);
    if (!mine)
        return err_fail(e, RC_NO_SPACE, "could not allocate memory for a block");

    lock_take(&f->lock);
    enum rc rc = enter_locked(f, mine, out, role, e);
    lock_drop(&f->lock);
    if (*out != mine)
        flight_free(f, mine);
    if (!rc && is_optional && *role != FLIGHT_LEADS) {
        flight_leave(f, out);
        rc = err_fail(e, RC_EXISTS, "the block is in memory already");
    }
    return rc;
}

void flight_land(struct flights *f, struct flight *flight, enum rc outcome)
{
    LOCK_SCOPE(&f->lock);
    flight->outcome = outcome;
    flight->state = outcome ? FLIGHT_FAILED : FLIGHT_LANDED;
    if (outcome)
        (void)map64_remove(f->table, key_of(flight->block));
    lock_broadcast(&f->has_landed);
}

enum rc flight_wait(struct flights *f, struct flight *flight, uint64_t deadline_ms, struct err *e)
{
    LOCK_SCOPE(&f->lock);
    while (flight->state == FLIGHT_FLYING) {
        if (!lock_wait(&f->has_landed, &f->lock, deadline_ms) && flight->state == FLIGHT_FLYING)
            return err_fail(e, RC_TIMEOUT, "waited too long for block %llu_%u",
                            (unsigned long long)flight->block.slice, flight->block.indx);
    }
    if (flight->state == FLIGHT_LANDED)
        return RC_OK;
    return err_fail(e, flight->outcome, "could not fetch block %llu_%u",
                    (unsigned long long)flight->block.slice, flight->block.indx);
}

void flight_leave(struct flights *f, struct flight **flight)
{
    struct flight *mine = *flight;
    if (!mine)
        return;
    *flight = NULL;
    lock_take(&f->lock);
    mine->used_ms = clock_ms();
    bool is_over = --mine->members == 0 && mine->state == FLIGHT_FAILED;
    lock_drop(&f->lock);
    if (is_over)
        flight_free(f, mine);
}
