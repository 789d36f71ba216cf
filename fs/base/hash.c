#include "fs/base/hash.h"

#include <stdbool.h>
#include <string.h>

uint32_t hash_fnv1a32(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 16777619U;
    return hash;
}

/* The finalizer of SplitMix64: every bit of the key reaches every bit of the result. */
uint64_t hash_u64(uint64_t key)
{
    key += 0x9E3779B97F4A7C15U;
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9U;
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBU;
    return key ^ (key >> 31);
}

uint64_t hash_bytes(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t hash = hash_u64(size);
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = hash_u64(hash ^ word);
    }
    uint64_t rest = 0;
    if (size > 0)
        memcpy(&rest, at, size);
    return hash_u64(hash ^ rest);
}

/*
 * Open addressing with linear probing. An entry sits at its home slot or behind it with no empty
 * slot between; removal moves later entries back to keep that so, hence there are no tombstones
 * and a map that churns does not grow. Filled at most to 3/4.
 */
struct entry {
    uint64_t key;
    void *value; /* NULL: the slot is empty */
};

struct map64 {
    struct entry *entries;
    size_t mask; /* slots − 1, slots being a power of two */
    size_t count;
};

#define FIRST_SLOTS 16

enum rc map64_open(struct map64 **out, struct err *e)
{
    struct map64 *map = malloc(sizeof(*map));
    struct entry *entries = calloc(FIRST_SLOTS, sizeof(*entries));
    if (!map || !entries) {
        free(map);
        free(entries);
        return err_fail(e, RC_NO_SPACE, "out of memory for a map");
    }
    *map = (struct map64){.entries = entries, .mask = FIRST_SLOTS - 1};
    *out = map;
    return RC_OK;
}

void map64_close(struct map64 **map)
{
    if (*map)
        free((*map)->entries);
    free(*map);
    *map = NULL;
}

/* The slot that holds key, or the empty one where it belongs. */
static size_t find_slot(const struct entry *entries, size_t mask, uint64_t key)
{
    size_t slot = hash_u64(key) & mask;
    while (entries[slot].value && entries[slot].key != key)
        slot = (slot + 1) & mask;
    return slot;
}

static enum rc resize(struct map64 *map, struct err *e)
{
    size_t slots = (map->mask + 1) * 2;
    struct entry *entries = calloc(slots, sizeof(*entries));
    if (!entries)
        return err_fail(e, RC_NO_SPACE, "out of memory for a map of %zu entries", map->count);

    for (size_t i = 0; i <= map->mask; i++) {
        const struct entry *old = &map->entries[i];
        if (old->value)
            entries[find_slot(entries, slots - 1, old->key)] = *old;
    }
    free(map->entries);
    map->entries = entries;
    map->mask = slots - 1;
    return RC_OK;
}

void *map64_get(const struct map64 *map, uint64_t key)
{
    return map->entries[find_slot(map->entries, map->mask, key)].value;
}

enum rc map64_put(struct map64 *map, uint64_t key, void *value, struct err *e)
{
    size_t slot = find_slot(map->entries, map->mask, key);
    bool is_new = !map->entries[slot].value;
    if (is_new && (map->count + 1) * 4 > (map->mask + 1) * 3) {
        enum rc rc = resize(map, e);
        if (rc)
            return rc;
        slot = find_slot(map->entries, map->mask, key);
    }
    map->entries[slot] = (struct entry){.key = key, .value = value};
    map->count += is_new;
    return RC_OK;
}

/* Close the gap at hole: every entry behind it whose home is not after the gap moves back. */
static void close_gap(struct map64 *map, size_t hole)
{
    for (size_t slot = (hole + 1) & map->mask; map->entries[slot].value;
         slot = (slot + 1) & map->mask) {
        size_t home = hash_u64(map->entries[slot].key) & map->mask;
        if (((slot - home) & map->mask) >= ((slot - hole) & map->mask)) {
            map->entries[hole] = map->entries[slot];
            hole = slot;
        }
    }
    map->entries[hole] = (struct entry){0};
}

void *map64_remove(struct map64 *map, uint64_t key)
{
    size_t slot = find_slot(map->entries, map->mask, key);
    void *value = map->entries[slot].value;
    if (value) {
        close_gap(map, slot);
        map->count--;
    }
    return value;
}

size_t map64_count(const struct map64 *map)
{
    return map->count;
}

void map64_each(const struct map64 *map, _Bool (*visit)(uint64_t key, void *value, void *ctx),
                void *ctx)
{
    for (size_t i = 0; i <= map->mask; i++) {
        const struct entry *entry = &map->entries[i];
        if (entry->value && !visit(entry->key, entry->value, ctx))
            return;
    }
}
