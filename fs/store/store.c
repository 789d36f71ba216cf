#include "fs/store/store.h"

#include <string.h>

#include "fs/base/clock.h"

/* One component of a key: not empty, not "." or "..". */
static bool component_is_plain(const char *at, size_t size)
{
    if (size == 0 || (size == 1 && at[0] == '.'))
        return false;
    return !(size == 2 && at[0] == '.' && at[1] == '.');
}

/* Every component, but for the last one of a prefix, which may be anything short of "..". */
static bool components_are_plain(const char *key, bool is_prefix)
{
    for (;;) {
        size_t size = strcspn(key, "/");
        bool is_last = key[size] == 0;
        bool may_be_partial = is_last && is_prefix && (size < 2 || memcmp(key, "..", 3) != 0);
        if (!may_be_partial && !component_is_plain(key, size))
            return false;
        if (is_last)
            return true;
        key += size + 1;
    }
}

static enum rc check_key(const char *key, bool is_prefix, struct err *e)
{
    if (strnlen(key, STORE_KEY_MAX) == STORE_KEY_MAX)
        return err_fail(e, RC_INVALID, "object key is longer than %d bytes", STORE_KEY_MAX - 1);
    if (!components_are_plain(key, is_prefix))
        return err_fail(e, RC_INVALID, "\"%s\" is no %s", key, is_prefix ? "prefix" : "object key");
    return RC_OK;
}

static enum rc begin(const char *key, uint64_t deadline_ms, struct err *e)
{
    if (clock_left(deadline_ms) == 0)
        return err_fail(e, RC_TIMEOUT, "deadline passed before object \"%s\" was asked for", key);
    return check_key(key, false, e);
}

enum rc store_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                  struct buf *out, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = begin(key, deadline_ms, e);
    if (rc)
        return rc;
    const size_t before = out->size;
    rc = s->ops->get(s, key, offset, length, out, deadline_ms, e);
    if (rc)
        out->size = before;
    return rc;
}

enum rc store_put(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                  struct err *e)
{
    enum rc rc = begin(key, deadline_ms, e);
    return rc ? rc : s->ops->put(s, key, data, deadline_ms, e);
}

enum rc store_head(struct store *s, const char *key, struct store_object *out, uint64_t deadline_ms,
                   struct err *e)
{
    enum rc rc = begin(key, deadline_ms, e);
    if (rc)
        return rc;
    rc = s->ops->head(s, key, out, deadline_ms, e);
    out->key = key;
    return rc;
}

enum rc store_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = begin(key, deadline_ms, e);
    return rc ? rc : s->ops->remove(s, key, deadline_ms, e);
}

enum rc store_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                   void *arg, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = check_key(prefix, true, e);
    return rc ? rc : s->ops->list(s, prefix, after ? after : "", visit, arg, deadline_ms, e);
}

void store_close(struct store **s)
{
    if (*s)
        (*s)->ops->close(*s);
    *s = NULL;
}
