#include "fs/volume/guard.h"

#include <stdatomic.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"

#define UUID_KEY   "juicefs_uuid"
#define UUID_BYTES 36
/* Tools that write the object by hand leave a newline or two. */
#define UUID_OBJECT_MAX  128
#define CHECK_TIMEOUT_MS 10000

struct guard_store {
    struct store base;
    struct store *below;
    char uuid[UUID_BYTES + 1];
    atomic_bool is_checked;
};

static size_t trimmed(struct bytes text)
{
    while (text.size > 0 && strchr(" \t\r\n", text.data[text.size - 1]))
        text.size--;
    return text.size;
}

/* RC_NOT_FOUND: there is no such object. */
static enum rc compare(struct store *bucket, const char *uuid, uint64_t deadline_ms, struct err *e)
{
    auto_buf struct buf found;
    buf_init(&found, UUID_OBJECT_MAX);
    enum rc rc = store_get(bucket, UUID_KEY, 0, STORE_TO_END, &found, deadline_ms, e);
    if (rc)
        return err_note(e, "could not tell whose %s is", bucket->label);

    const size_t size = trimmed(buf_bytes(&found));
    if (size != strlen(uuid) || memcmp(found.data, uuid, size) != 0)
        return err_fail(e, RC_INVALID, "%s belongs to another volume, %.*s, not to %s",
                        bucket->label, (int)size, (const char *)found.data, uuid);
    return RC_OK;
}

static enum rc check_until(struct store *bucket, const char *uuid, uint64_t deadline_ms,
                           struct err *e)
{
    enum rc rc = compare(bucket, uuid, deadline_ms, e);
    if (rc != RC_NOT_FOUND)
        return rc;
    log_info("%s has no object " UUID_KEY ", so nobody can say whose it is", bucket->label);
    return RC_OK;
}

enum rc guard_check(struct store *bucket, const char *uuid, struct err *e)
{
    return check_until(bucket, uuid, clock_deadline(CHECK_TIMEOUT_MS), e);
}

static bool note_object(UNUSED const struct store_object *object, void *arg)
{
    *(bool *)arg = true;
    return false;
}

enum rc guard_vouch(struct store *bucket, const char *uuid, struct err *e)
{
    const uint64_t deadline = clock_deadline(CHECK_TIMEOUT_MS);
    enum rc rc = compare(bucket, uuid, deadline, e);
    if (rc == RC_OK || rc == RC_INVALID)
        return rc;
    bool has_blocks = false;
    if (rc == RC_NOT_FOUND)
        rc = store_list(bucket, "chunks/", "", note_object, &has_blocks, deadline, e);
    if (rc == RC_OK && has_blocks)
        return RC_OK;
    return err_fail(e, RC_UNAVAILABLE, "%s does not show that it is the volume's", bucket->label);
}

enum rc guard_claim(struct store *bucket, const char *uuid, struct err *e)
{
    struct store_object ignored;
    const uint64_t deadline = clock_deadline(CHECK_TIMEOUT_MS);
    if (store_head(bucket, UUID_KEY, &ignored, deadline, e) != RC_NOT_FOUND)
        return e->code ? e->code : check_until(bucket, uuid, deadline, e);
    *e = ERR_INIT;
    return store_put(bucket, UUID_KEY, (struct bytes){(const uint8_t *)uuid, strlen(uuid)},
                     deadline, e);
}

/* The store below, once it is known to be ours. Two threads may check at once; no harm. */
static enum rc pass(struct store *base, uint64_t deadline_ms, struct store **below, struct err *e)
{
    struct guard_store *g = (struct guard_store *)base;
    *below = g->below;
    if (atomic_load_explicit(&g->is_checked, memory_order_acquire))
        return RC_OK;
    enum rc rc = check_until(g->below, g->uuid, deadline_ms, e);
    if (rc == RC_OK)
        atomic_store_explicit(&g->is_checked, true, memory_order_release);
    return rc;
}

static enum rc guard_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct store *below;
    enum rc rc = pass(s, deadline_ms, &below, e);
    return rc ? rc : store_get(below, key, offset, length, out, deadline_ms, e);
}

static enum rc guard_put(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                         struct err *e)
{
    struct store *below;
    enum rc rc = pass(s, deadline_ms, &below, e);
    return rc ? rc : store_put(below, key, data, deadline_ms, e);
}

static enum rc guard_head(struct store *s, const char *key, struct store_object *out,
                          uint64_t deadline_ms, struct err *e)
{
    struct store *below;
    enum rc rc = pass(s, deadline_ms, &below, e);
    return rc ? rc : store_head(below, key, out, deadline_ms, e);
}

static enum rc guard_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    struct store *below;
    enum rc rc = pass(s, deadline_ms, &below, e);
    return rc ? rc : store_remove(below, key, deadline_ms, e);
}

static enum rc guard_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                          void *arg, uint64_t deadline_ms, struct err *e)
{
    struct store *below;
    enum rc rc = pass(s, deadline_ms, &below, e);
    return rc ? rc : store_list(below, prefix, after, visit, arg, deadline_ms, e);
}

static void guard_close(struct store *s)
{
    store_close(&((struct guard_store *)s)->below);
    free(s);
}

static const struct store_ops guard_ops = {
    .name = "guard",
    .get = guard_get,
    .put = guard_put,
    .head = guard_head,
    .remove = guard_remove,
    .list = guard_list,
    .close = guard_close,
};

enum rc guard_open(struct store **out, struct store **below, const char *uuid, struct err *e)
{
    if (strlen(uuid) != UUID_BYTES)
        return err_fail(e, RC_INVALID, "volume identity \"%.64s\" is no UUID", uuid);
    struct guard_store *g = calloc(1, sizeof(*g));
    if (!g)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    g->base.ops = &guard_ops;
    memcpy(g->base.label, (*below)->label, sizeof(g->base.label));
    memcpy(g->uuid, uuid, UUID_BYTES + 1);
    g->below = take_pointer(below);
    *out = &g->base;
    return RC_OK;
}
