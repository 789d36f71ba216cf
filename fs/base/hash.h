/*
 * hash - small non-cryptographic hashes and an intrusive-free hash map of 64-bit keys.
 *
 * Threads   hash functions any; a map is the caller's to lock
 */
#ifndef FS_BASE_HASH_H
#define FS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "fs/base/attr.h"
#include "fs/base/err.h"

/* FNV-1a, 32 bit: chooses the shard of an object key (volume format §8). */
uint32_t hash_fnv1a32(const void *data, size_t size);

/* A good 64-bit mix of a 64-bit key. */
uint64_t hash_u64(uint64_t key);

/* A 64-bit hash of bytes, for tables in memory only (not stable across versions). */
uint64_t hash_bytes(const void *data, size_t size);

/*
 * u64 → pointer, open addressing. Values are borrowed and never NULL.
 */
struct map64;
MUST_CHECK enum rc map64_open(struct map64 **out, struct err *e);
void map64_close(struct map64 **map);
void *map64_get(const struct map64 *map, uint64_t key);
/* Insert or replace. RC_NO_SPACE without memory, map unchanged. */
MUST_CHECK enum rc map64_put(struct map64 *map, uint64_t key, void *value, struct err *e);
/* Remove; returns what was there or NULL. */
void *map64_remove(struct map64 *map, uint64_t key);
size_t map64_count(const struct map64 *map);
/* Call visit for every entry, in no order, until it returns false; it must not change the map. */
void map64_each(const struct map64 *map, _Bool (*visit)(uint64_t key, void *value, void *ctx),
                void *ctx);

#endif
