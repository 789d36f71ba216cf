/*
 * The only place that decides whether a store is asked again. NOT_FOUND, DENIED, NO_SPACE, CORRUPT,
 * INVALID and the rest are final: asking again does not change them, or a layer above knows better.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/metric.h"
#include "fs/store/layers.h"
#include "fs/store/wrap.h"

#define FIRST_PAUSE_MS   20
#define LONGEST_PAUSE_MS 3000

METRIC_DEFINE(retries, METRIC_COUNTER, "tarn_store_retries_total", NULL,
              "requests to an object store that were sent again")

struct retry_store {
    struct wrap wrap;
    unsigned max_tries;
};

/* One call of a verb, and how often it was tried. */
struct attempt {
    const struct retry_store *store;
    uint64_t deadline_ms;
    unsigned tries;
    struct err failure; /* the last that was no RC_TIMEOUT, or the first; set when tries > 0 */
};

static struct attempt attempt_new(const struct store *s, uint64_t deadline_ms)
{
    return (struct attempt){.store = (const struct retry_store *)s, .deadline_ms = deadline_ms};
}

static bool may_pass(enum rc rc)
{
    /* UNCERTAIN too: the same bytes under the same key, so doing it twice is doing it once. */
    return rc == RC_UNAVAILABLE || rc == RC_TIMEOUT || rc == RC_IO || rc == RC_UNCERTAIN;
}

/* Doubling, and a random half of it, so that clients that failed together do not return together.
 */
static uint64_t pause_ms(const struct attempt *a)
{
    unsigned doublings = a->tries < 10 ? a->tries : 10;
    uint64_t full = (uint64_t)FIRST_PAUSE_MS << doublings;
    if (full > LONGEST_PAUSE_MS)
        full = LONGEST_PAUSE_MS;
    uint64_t random = hash_u64(clock_us() ^ (uint64_t)(uintptr_t)a);
    return full / 2 + random % (full / 2 + 1);
}

/* Wait for the next try after one that failed as e says. False when rc is the answer. */
static bool again(struct attempt *a, enum rc rc, const struct err *e)
{
    if (!may_pass(rc) || a->tries + 1 >= a->store->max_tries)
        return false;
    uint64_t resume_ms = clock_deadline(pause_ms(a));
    if (resume_ms >= a->deadline_ms)
        return false;
    if (rc != RC_TIMEOUT || a->tries == 0)
        a->failure = *e;
    clock_sleep_until(resume_ms);
    a->tries++;
    metric_add(&retries, 1);
    return true;
}

static enum rc finish(const struct attempt *a, enum rc rc, struct err *e)
{
    /* Time that ran out before the last try hides nothing: what was UNCERTAIN still is. */
    if (rc == RC_TIMEOUT && a->tries > 0) {
        *e = a->failure;
        rc = e->code;
    }
    if (rc && a->tries > 0)
        return err_note(e, "after %u tries", a->tries + 1);
    return rc;
}

static enum rc retry_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct attempt a = attempt_new(s, deadline_ms);
    enum rc rc;
    do
        rc = store_get(a.store->wrap.below, key, offset, length, out, deadline_ms, e);
    while (again(&a, rc, e));
    return finish(&a, rc, e);
}

static enum rc retry_put(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                         struct err *e)
{
    struct attempt a = attempt_new(s, deadline_ms);
    enum rc rc;
    do
        rc = store_put(a.store->wrap.below, key, data, deadline_ms, e);
    while (again(&a, rc, e));
    return finish(&a, rc, e);
}

static enum rc retry_head(struct store *s, const char *key, struct store_object *out,
                          uint64_t deadline_ms, struct err *e)
{
    struct attempt a = attempt_new(s, deadline_ms);
    enum rc rc;
    do
        rc = store_head(a.store->wrap.below, key, out, deadline_ms, e);
    while (again(&a, rc, e));
    return finish(&a, rc, e);
}

static enum rc retry_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    struct attempt a = attempt_new(s, deadline_ms);
    enum rc rc;
    do
        rc = store_remove(a.store->wrap.below, key, deadline_ms, e);
    while (again(&a, rc, e));
    return finish(&a, rc, e);
}

/* Remembers the last key shown, so that a listing that broke off goes on behind it. */
struct resume {
    store_visit visit;
    void *arg;
    struct attempt *attempt;
    char last[STORE_KEY_MAX];
};

static bool resume_visit(const struct store_object *object, void *arg)
{
    struct resume *r = arg;
    (void)snprintf(r->last, sizeof(r->last), "%s", object->key);
    r->attempt->tries = 0; /* it moves: only tries in a row count */
    return r->visit(object, r->arg);
}

static enum rc retry_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                          void *arg, uint64_t deadline_ms, struct err *e)
{
    struct attempt a = attempt_new(s, deadline_ms);
    struct resume r = {.visit = visit, .arg = arg, .attempt = &a};
    (void)snprintf(r.last, sizeof(r.last), "%s", after);
    enum rc rc;
    do {
        char from[STORE_KEY_MAX];
        memcpy(from, r.last, sizeof(from));
        rc = store_list(a.store->wrap.below, prefix, from, resume_visit, &r, deadline_ms, e);
    } while (again(&a, rc, e));
    return finish(&a, rc, e);
}

static const struct store_ops retry_ops = {
    .name = "retry",
    .get = retry_get,
    .put = retry_put,
    .head = retry_head,
    .remove = retry_remove,
    .list = retry_list,
    .close = wrap_close,
};

enum rc store_retry(struct store **out, struct store **below, unsigned max_tries, struct err *e)
{
    struct retry_store *s = wrap_new(sizeof(*s), &retry_ops, below, e);
    if (!s)
        return e->code;
    s->max_tries = max_tries;
    *out = &s->wrap.base;
    return RC_OK;
}
