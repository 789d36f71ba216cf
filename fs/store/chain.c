/*
 * Two stores that hold the same objects: the site's own, and the origin that all was written to.
 * Objects never change, so either copy is as good as the other; what one cannot give, or gives
 * damaged, the other may.
 */
#include <string.h>

#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/store/layers.h"

METRIC_DEFINE(fallen, METRIC_COUNTER, "tarn_store_origin_gets_total", NULL,
              "objects that were asked of the origin because the site's own store failed");
METRIC_DEFINE(unkept, METRIC_COUNTER, "tarn_store_local_put_failures_total", NULL,
              "objects that were stored at the origin but not in the site's own store");

enum chain_puts { PUT_ORIGIN, PUT_BOTH, PUT_LOCAL };

struct chain_store {
    struct store base;
    struct store *local, *origin;
    enum chain_puts puts;
};

static int weight(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return 0;
    case RC_NOT_FOUND:
        return 1;
    case RC_CORRUPT:
        return 2;
    default:
        return 3;
    }
}

bool store_chain_outweighs(enum rc b, enum rc a)
{
    return weight(b) > weight(a);
}

/* Would another store help? Not when the request is wrong, we were told to stop, or our memory or
 * time is at its end. */
static bool falls_through(enum rc rc)
{
    return rc != RC_OK && rc != RC_INVALID && rc != RC_CANCELLED && rc != RC_NO_SPACE;
}

/* Local failed with *first. Log what a person should know of it; nobody else will see it. */
static void note_fall(const struct chain_store *c, const char *key, const struct err *first)
{
    metric_add(&fallen, 1);
    if (first->code == RC_CORRUPT)
        log_err(LOG_LEVEL_WARN, first, "bad object \"%s\" in %s, asking %s", key, c->local->label,
                c->origin->label);
    else if (first->code != RC_NOT_FOUND)
        log_err(LOG_LEVEL_DEBUG, first, "object \"%s\" not from %s, asking %s", key,
                c->local->label, c->origin->label);
}

/* Both failed: keep the weightier error. */
static enum rc settle(const struct err *first, enum rc second, struct err *e)
{
    if (second == RC_OK)
        return RC_OK;
    if (store_chain_outweighs(first->code, second))
        *e = *first;
    return e->code;
}

static enum rc chain_get(struct store *base, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct chain_store *c = (struct chain_store *)base;
    enum rc rc = store_get(c->local, key, offset, length, out, deadline_ms, e);
    if (!falls_through(rc))
        return rc;
    const struct err first = *e;
    note_fall(c, key, &first);
    rc = store_get(c->origin, key, offset, length, out, deadline_ms, e);
    return settle(&first, rc, e);
}

static enum rc chain_head(struct store *base, const char *key, struct store_object *out,
                          uint64_t deadline_ms, struct err *e)
{
    struct chain_store *c = (struct chain_store *)base;
    enum rc rc = store_head(c->local, key, out, deadline_ms, e);
    if (!falls_through(rc))
        return rc;
    const struct err first = *e;
    rc = store_head(c->origin, key, out, deadline_ms, e);
    return settle(&first, rc, e);
}

static enum rc chain_put(struct store *base, const char *key, struct bytes data,
                         uint64_t deadline_ms, struct err *e)
{
    struct chain_store *c = (struct chain_store *)base;
    if (c->puts == PUT_LOCAL)
        return store_put(c->local, key, data, deadline_ms, e);
    enum rc rc = store_put(c->origin, key, data, deadline_ms, e);
    if (rc || c->puts == PUT_ORIGIN)
        return rc;

    /* The origin has it, so it is stored; the syncer brings what is missing here. */
    struct err local_error = ERR_INIT;
    if (store_put(c->local, key, data, deadline_ms, &local_error)) {
        metric_add(&unkept, 1);
        log_err(LOG_LEVEL_DEBUG, &local_error, "object \"%s\" not kept in %s", key,
                c->local->label);
    }
    return RC_OK;
}

static enum rc chain_remove(struct store *base, const char *key, uint64_t deadline_ms,
                            struct err *e)
{
    return store_remove(((struct chain_store *)base)->local, key, deadline_ms, e);
}

static enum rc chain_list(struct store *base, const char *prefix, const char *after,
                          store_visit visit, void *arg, uint64_t deadline_ms, struct err *e)
{
    struct chain_store *c = (struct chain_store *)base;
    return store_list(c->local, prefix, after, visit, arg, deadline_ms, e);
}

static void chain_close(struct store *base)
{
    struct chain_store *c = (struct chain_store *)base;
    store_close(&c->local);
    store_close(&c->origin);
    free(c);
}

static const struct store_ops chain_ops = {
    .name = "chain",
    .get = chain_get,
    .put = chain_put,
    .head = chain_head,
    .remove = chain_remove,
    .list = chain_list,
    .close = chain_close,
};

static enum rc chain_open(struct store **out, struct store **local, struct store **origin,
                          enum chain_puts puts, struct err *e)
{
    struct chain_store *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    c->base.ops = &chain_ops;
    memcpy(c->base.label, (*local)->label, sizeof(c->base.label));
    c->local = take_pointer(local);
    c->origin = take_pointer(origin);
    c->puts = puts;
    *out = &c->base;
    return RC_OK;
}

enum rc store_chain(struct store **out, struct store **local, struct store **origin,
                    bool write_both, struct err *e)
{
    return chain_open(out, local, origin, write_both ? PUT_BOTH : PUT_ORIGIN, e);
}

enum rc store_successor(struct store **out, struct store **own, struct store **former,
                        struct err *e)
{
    return chain_open(out, own, former, PUT_LOCAL, e);
}
