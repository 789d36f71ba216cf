/*
 * wrap - the head of a layer over one store, and the verbs of a layer that has nothing to add.
 * Private to fs/store.
 */
#ifndef FS_STORE_WRAP_H
#define FS_STORE_WRAP_H

#include "fs/store/store.h"

struct wrap {
    struct store base;
    struct store *below;
};

/* Allocate a zeroed layer of size bytes that begins with a struct wrap, and move *below into it.
 * NULL and RC_NO_SPACE in *e without memory. */
void *wrap_new(size_t size, const struct store_ops *ops, struct store **below, struct err *e);

enum rc wrap_head(struct store *s, const char *key, struct store_object *out, uint64_t deadline_ms,
                  struct err *e);
enum rc wrap_remove(struct store *s, const char *key, uint64_t deadline_ms, struct err *e);
enum rc wrap_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                  void *arg, uint64_t deadline_ms, struct err *e);
void wrap_close(struct store *s);

#endif
