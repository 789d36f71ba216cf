#include <stdio.h>
#include <string.h>

#include "fs/store/layers.h"
#include "fs/store/wrap.h"

struct prefix_store {
    struct wrap wrap;
    size_t size;
    char prefix[STORE_KEY_MAX];
};

/* Write prefix and key into full. */
static enum rc join(const struct prefix_store *p, const char *key, char full[STORE_KEY_MAX],
                    struct err *e)
{
    const size_t size = strlen(key);
    if (p->size + size >= STORE_KEY_MAX)
        return err_fail(e, RC_INVALID, "object key \"%s\" is too long", key);
    memcpy(full, p->prefix, p->size);
    memcpy(full + p->size, key, size + 1);
    return RC_OK;
}

static enum rc prefix_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                          struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct prefix_store *p = (struct prefix_store *)s;
    char full[STORE_KEY_MAX];
    enum rc rc = join(p, key, full, e);
    return rc ? rc : store_get(p->wrap.below, full, offset, length, out, deadline_ms, e);
}

static enum rc prefix_put(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                          struct err *e)
{
    struct prefix_store *p = (struct prefix_store *)s;
    char full[STORE_KEY_MAX];
    enum rc rc = join(p, key, full, e);
    return rc ? rc : store_put(p->wrap.below, full, data, deadline_ms, e);
}

static enum rc prefix_head(struct store *s, const char *key, struct store_object *out,
                           uint64_t deadline_ms, struct err *e)
{
    struct prefix_store *p = (struct prefix_store *)s;
    char full[STORE_KEY_MAX];
    enum rc rc = join(p, key, full, e);
    return rc ? rc : store_head(p->wrap.below, full, out, deadline_ms, e);
}

static enum rc prefix_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    struct prefix_store *p = (struct prefix_store *)s;
    char full[STORE_KEY_MAX];
    enum rc rc = join(p, key, full, e);
    return rc ? rc : store_remove(p->wrap.below, full, deadline_ms, e);
}

struct strip {
    size_t size;
    store_visit visit;
    void *arg;
};

static bool strip_visit(const struct store_object *object, void *arg)
{
    const struct strip *strip = arg;
    struct store_object inner = *object;
    inner.key += strip->size;
    return strip->visit(&inner, strip->arg);
}

static enum rc prefix_list(struct store *s, const char *prefix, const char *after,
                           store_visit visit, void *arg, uint64_t deadline_ms, struct err *e)
{
    struct prefix_store *p = (struct prefix_store *)s;
    struct strip strip = {.size = p->size, .visit = visit, .arg = arg};
    char full[STORE_KEY_MAX], full_after[STORE_KEY_MAX] = "";
    enum rc rc = join(p, prefix, full, e);
    if (rc == RC_OK && after[0] != 0)
        rc = join(p, after, full_after, e);
    if (rc)
        return rc;
    return store_list(p->wrap.below, full, full_after, strip_visit, &strip, deadline_ms, e);
}

static const struct store_ops prefix_ops = {
    .name = "prefix",
    .get = prefix_get,
    .put = prefix_put,
    .head = prefix_head,
    .remove = prefix_remove,
    .list = prefix_list,
    .close = wrap_close,
};

enum rc store_prefix(struct store **out, struct store **below, const char *prefix, struct err *e)
{
    const size_t size = strlen(prefix);
    if (size >= STORE_KEY_MAX / 2)
        return err_fail(e, RC_INVALID, "prefix of %zu bytes is too long", size);
    struct prefix_store *p = wrap_new(sizeof(*p), &prefix_ops, below, e);
    if (!p)
        return e->code;
    p->size = size;
    memcpy(p->prefix, prefix, size + 1);
    *out = &p->wrap.base;
    return RC_OK;
}
