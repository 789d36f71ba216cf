/*
 * Objects spread over several stores by a hash of their full key. A listing merges the shards: each
 * is read by pages, so that memory is bounded however many objects there are.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/hash.h"
#include "fs/store/layers.h"

/* Objects in all pages together, and in one page at least. */
#define PAGES_OBJECTS    65536
#define PAGE_OBJECTS_MIN 256

struct shard_store {
    struct store base;
    unsigned count;
    struct store *below[];
};

static struct store *choose(struct store *base, const char *key)
{
    const struct shard_store *s = (const struct shard_store *)base;
    return s->below[hash_fnv1a32(key, strlen(key)) % s->count];
}

static enum rc shard_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                         struct buf *out, uint64_t deadline_ms, struct err *e)
{
    return store_get(choose(s, key), key, offset, length, out, deadline_ms, e);
}

static enum rc shard_put(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                         struct err *e)
{
    return store_put(choose(s, key), key, data, deadline_ms, e);
}

static enum rc shard_head(struct store *s, const char *key, struct store_object *out,
                          uint64_t deadline_ms, struct err *e)
{
    return store_head(choose(s, key), key, out, deadline_ms, e);
}

static enum rc shard_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e)
{
    return store_remove(choose(s, key), key, deadline_ms, e);
}

/* The next objects of one shard: each is size and mtime in 16 bytes, then the key with its NUL. */
struct page {
    struct store *from;
    struct buf records;
    size_t at;    /* of the record that is next */
    size_t count; /* records read into this page */
    size_t limit;
    bool is_last;
    char last[STORE_KEY_MAX]; /* key of the last record */
    enum rc rc;               /* of a visit that ran out of memory */
    struct err *e;
};

struct record_head {
    uint64_t size;
    int64_t mtime_s;
};

static const char *page_key(const struct page *p)
{
    return (const char *)p->records.data + p->at + sizeof(struct record_head);
}

static bool page_visit(const struct store_object *object, void *arg)
{
    struct page *p = arg;
    struct record_head head = {object->size, object->mtime_s};
    p->rc = buf_add(&p->records, &head, sizeof(head), p->e);
    if (p->rc == RC_OK)
        p->rc = buf_add(&p->records, object->key, strlen(object->key) + 1, p->e);
    if (p->rc)
        return false;
    (void)snprintf(p->last, sizeof(p->last), "%s", object->key);
    return ++p->count < p->limit;
}

/* Read the page behind p->last. */
static enum rc page_fill(struct page *p, const char *prefix, uint64_t deadline_ms, struct err *e)
{
    char after[STORE_KEY_MAX];
    memcpy(after, p->last, sizeof(after));
    buf_clear(&p->records);
    p->at = p->count = 0;
    p->e = e;
    enum rc rc = store_list(p->from, prefix, after, page_visit, p, deadline_ms, e);
    p->is_last = p->count < p->limit;
    return rc ? rc : p->rc;
}

/* The page whose next key is least; NULL when all are at their end. */
static struct page *least(struct page *pages, unsigned count)
{
    struct page *found = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct page *p = &pages[i];
        if (p->at < p->records.size && (!found || strcmp(page_key(p), page_key(found)) < 0))
            found = p;
    }
    return found;
}

/* Show the next object of p and step behind it. */
static bool page_show(struct page *p, store_visit visit, void *arg)
{
    struct record_head head;
    memcpy(&head, p->records.data + p->at, sizeof(head));
    const char *key = page_key(p);
    struct store_object object = {.key = key, .size = head.size, .mtime_s = head.mtime_s};
    p->at += sizeof(head) + strlen(key) + 1;
    return visit(&object, arg);
}

static void pages_free(struct page *pages, unsigned count)
{
    for (unsigned i = 0; pages && i < count; i++)
        buf_deinit(&pages[i].records);
    free(pages);
}

static struct page *pages_new(const struct shard_store *s, const char *after)
{
    struct page *pages = calloc(s->count, sizeof(*pages));
    size_t limit = PAGES_OBJECTS / s->count;
    if (limit < PAGE_OBJECTS_MIN)
        limit = PAGE_OBJECTS_MIN;
    for (unsigned i = 0; pages && i < s->count; i++) {
        pages[i].from = s->below[i];
        pages[i].limit = limit;
        buf_init(&pages[i].records, limit * (sizeof(struct record_head) + STORE_KEY_MAX));
        (void)snprintf(pages[i].last, sizeof(pages[i].last), "%s", after);
    }
    return pages;
}

static enum rc merge(struct page *pages, unsigned count, const char *prefix, store_visit visit,
                     void *arg, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = RC_OK;
    for (unsigned i = 0; i < count && rc == RC_OK; i++)
        rc = page_fill(&pages[i], prefix, deadline_ms, e);
    while (rc == RC_OK) {
        struct page *p = least(pages, count);
        if (!p || !page_show(p, visit, arg))
            break;
        if (p->at == p->records.size && !p->is_last)
            rc = page_fill(p, prefix, deadline_ms, e);
    }
    return rc;
}

static enum rc shard_list(struct store *base, const char *prefix, const char *after,
                          store_visit visit, void *arg, uint64_t deadline_ms, struct err *e)
{
    const struct shard_store *s = (const struct shard_store *)base;
    struct page *pages = pages_new(s, after);
    if (!pages)
        return err_fail(e, RC_NO_SPACE, "out of memory for a listing of %u shards", s->count);
    enum rc rc = merge(pages, s->count, prefix, visit, arg, deadline_ms, e);
    pages_free(pages, s->count);
    return rc;
}

static void shard_close(struct store *base)
{
    struct shard_store *s = (struct shard_store *)base;
    for (unsigned i = 0; i < s->count; i++)
        store_close(&s->below[i]);
    free(s);
}

static const struct store_ops shard_ops = {
    .name = "shard",
    .get = shard_get,
    .put = shard_put,
    .head = shard_head,
    .remove = shard_remove,
    .list = shard_list,
    .close = shard_close,
};

enum rc store_shard(struct store **out, struct store **below, unsigned count, struct err *e)
{
    struct shard_store *s = calloc(1, sizeof(*s) + count * sizeof(*below));
    if (!s)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    s->base.ops = &shard_ops;
    (void)snprintf(s->base.label, sizeof(s->base.label), "%u shards of %.70s", count,
                   below[0]->label);
    s->count = count;
    for (unsigned i = 0; i < count; i++)
        s->below[i] = take_pointer(&below[i]);
    *out = &s->base;
    return RC_OK;
}
