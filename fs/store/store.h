/*
 * store - object storage as verbs plus an instance.
 *
 * A driver (file, later s3) and every layer (prefix, shard, encrypt, retry, chain, limit, fault)
 * are the same struct, so that a stack is built by wrapping and looks the same from the outside. A
 * layer owns the store it wraps and closes it.
 *
 * Objects are written once and whole: put() is atomic, and an object is visible only complete.
 *
 * Threads   every verb from any thread at once, between opening and store_close()
 * Blocking  every verb waits for disk or network, up to its deadline
 * Units     bytes; deadlines in CLOCK_MONOTONIC milliseconds
 */
#ifndef FS_STORE_STORE_H
#define FS_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

#define STORE_KEY_MAX 1024 /* with its NUL */
#define STORE_TO_END  UINT64_MAX

struct store;

struct store_object {
    const char *key; /* borrowed for the call */
    uint64_t size;
    int64_t mtime_s; /* wall clock, as the store says; 0: unknown */
};

/* Visit one object of a listing; false stops it (the listing then answers RC_OK). */
typedef bool (*store_visit)(const struct store_object *object, void *arg);

struct store_ops {
    const char *name; /* "file", "chain" */

    /*
     * Append length bytes from offset (STORE_TO_END: to the end) to out; as before on failure.
     * RC_NOT_FOUND  no such object
     * RC_CORRUPT    the store's bytes are not what they should be: damaged, shorter than what was
     *               asked for, or more than out may hold, which is how a caller bounds an object
     */
    enum rc (*get)(struct store *s, const char *key, uint64_t offset, uint64_t length,
                   struct buf *out, uint64_t deadline_ms, struct err *e);
    /* Durable when it answers RC_OK. RC_UNCERTAIN: it may or may not be there; put it again. */
    enum rc (*put)(struct store *s, const char *key, struct bytes data, uint64_t deadline_ms,
                   struct err *e);
    /* Size and time only. */
    enum rc (*head)(struct store *s, const char *key, struct store_object *out,
                    uint64_t deadline_ms, struct err *e);
    /* Removing what is not there is RC_OK. */
    enum rc (*remove)(struct store *s, const char *key, uint64_t deadline_ms, struct err *e);
    /* Every object whose key begins with prefix and is greater than after, in byte order. */
    enum rc (*list)(struct store *s, const char *prefix, const char *after, store_visit visit,
                    void *arg, uint64_t deadline_ms, struct err *e);
    void (*close)(struct store *s);
};

/* The head of every driver's and layer's own struct. */
struct store {
    const struct store_ops *ops;
    char label[96]; /* for logs: "file:/data/origin/", without secrets */
};

MUST_CHECK enum rc store_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                             struct buf *out, uint64_t deadline_ms, struct err *e);
MUST_CHECK enum rc store_put(struct store *s, const char *key, struct bytes data,
                             uint64_t deadline_ms, struct err *e);
MUST_CHECK enum rc store_head(struct store *s, const char *key, struct store_object *out,
                              uint64_t deadline_ms, struct err *e);
MUST_CHECK enum rc store_remove(struct store *s, const char *key, uint64_t deadline_ms,
                                struct err *e);
MUST_CHECK enum rc store_list(struct store *s, const char *prefix, const char *after,
                              store_visit visit, void *arg, uint64_t deadline_ms, struct err *e);
/* Close the stack from here down. Sets *s to NULL; NULL is ignored. */
void store_close(struct store **s);

#endif
