/*
 * A token bucket kept as its debt: whoever moves bytes adds them, time takes them away at the rate,
 * and a call begins when nothing is owed. One large object may so go over, and the next one waits
 * for it; the average holds, and no size is refused.
 */
#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/store/layers.h"
#include "fs/store/wrap.h"

/* The longest sleep before the debt is looked at again. */
#define NAP_MS 250

struct bucket {
    uint64_t rate; /* bytes per second; 0: unlimited */
    uint64_t debt; /* bytes */
    uint64_t since_us;
};

struct limit_store {
    struct wrap wrap;
    struct lock lock; /* both buckets */
    struct lock_cond changed;
    struct bucket get, put;
};

/* Take off what time has paid since the last look. */
static void pay_locked(struct bucket *b)
{
    const uint64_t now_us = clock_us();
    const uint64_t passed_us = now_us - b->since_us;
    b->since_us = now_us;
    const __uint128_t paid = (__uint128_t)passed_us * b->rate / 1000000;
    b->debt = b->rate == 0 || paid >= b->debt ? 0 : b->debt - (uint64_t)paid;
}

static uint64_t owed_ms_locked(const struct bucket *b)
{
    const uint64_t ms = b->debt / ((b->rate + 999) / 1000) + 1;
    return ms < NAP_MS ? ms : NAP_MS;
}

/* Wait until nothing is owed, then owe size. */
static enum rc take(struct limit_store *s, struct bucket *b, uint64_t size, uint64_t deadline_ms,
                    struct err *e)
{
    LOCK_SCOPE(&s->lock);
    for (pay_locked(b); b->debt > 0; pay_locked(b)) {
        if (clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "deadline passed while waiting for bandwidth");
        const uint64_t wake_ms = clock_deadline(owed_ms_locked(b));
        (void)lock_wait(&s->changed, &s->lock, wake_ms < deadline_ms ? wake_ms : deadline_ms);
    }
    b->debt += b->rate == 0 ? 0 : size;
    return RC_OK;
}

/* Owe size, whatever is owed already. */
static void charge(struct limit_store *s, struct bucket *b, uint64_t size)
{
    LOCK_SCOPE(&s->lock);
    pay_locked(b);
    b->debt += b->rate == 0 ? 0 : size;
}

static enum rc limit_get(struct store *base, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct limit_store *s = (struct limit_store *)base;
    const size_t before = out->size;
    enum rc rc = take(s, &s->get, 0, deadline_ms, e);
    if (rc == RC_OK)
        rc = store_get(s->wrap.below, key, offset, length, out, deadline_ms, e);
    if (rc == RC_OK)
        charge(s, &s->get, out->size - before);
    return rc;
}

static enum rc limit_put(struct store *base, const char *key, struct bytes data,
                         uint64_t deadline_ms, struct err *e)
{
    struct limit_store *s = (struct limit_store *)base;
    enum rc rc = take(s, &s->put, data.size, deadline_ms, e);
    return rc ? rc : store_put(s->wrap.below, key, data, deadline_ms, e);
}

static void limit_close(struct store *base)
{
    struct limit_store *s = (struct limit_store *)base;
    lock_cond_deinit(&s->changed);
    lock_deinit(&s->lock);
    wrap_close(base);
}

static const struct store_ops limit_ops = {
    .name = "limit",
    .get = limit_get,
    .put = limit_put,
    .head = wrap_head,
    .remove = wrap_remove,
    .list = wrap_list,
    .close = limit_close,
};

void store_limit_set(struct store *limit, uint64_t get_rate, uint64_t put_rate)
{
    struct limit_store *s = (struct limit_store *)limit;
    LOCK_SCOPE(&s->lock);
    pay_locked(&s->get);
    pay_locked(&s->put);
    s->get.rate = get_rate;
    s->put.rate = put_rate;
    lock_broadcast(&s->changed);
}

enum rc store_limit(struct store **out, struct store **below, uint64_t get_rate, uint64_t put_rate,
                    struct err *e)
{
    struct limit_store *s = wrap_new(sizeof(*s), &limit_ops, below, e);
    if (!s)
        return e->code;
    lock_init(&s->lock, LOCK_STORE);
    lock_cond_init(&s->changed);
    s->get = (struct bucket){.rate = get_rate, .since_us = clock_us()};
    s->put = (struct bucket){.rate = put_rate, .since_us = clock_us()};
    *out = &s->wrap.base;
    return RC_OK;
}
