#include "fs/store/wrap.h"

#include <string.h>

static struct store *below(struct store *s)
{
    return ((struct wrap *)s)->below;
}

void *wrap_new(size_t size, const struct store_ops *ops, struct store **lower, struct err *e)
{
    struct wrap *w = calloc(1, size);
    if (!w) {
        err_fail(e, RC_NO_SPACE, "out of memory");
        return NULL;
    }
    w->base.ops = ops;
    memcpy(w->base.label, (*lower)->label, sizeof(w->base.label));
    w->below = take_pointer(lower);
    return w;
}

enum rc wrap_head(struct store *s, const char *key, struct store_object *out, uint64_t deadline_ms,
                  struct err *e)
{
    return store_head(below(s), key, out, deadline_ms, e);
}

enum rc wrap_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    return store_remove(below(s), key, deadline_ms, e);
}

enum rc wrap_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                  void *arg, uint64_t deadline_ms, struct err *e)
{
    return store_list(below(s), prefix, after, visit, arg, deadline_ms, e);
}

void wrap_close(struct store *s)
{
    store_close(&((struct wrap *)s)->below);
    free(s);
}
