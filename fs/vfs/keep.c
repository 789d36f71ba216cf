#include "fs/vfs/keep.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/hash.h"

enum {
    SETS = 16384,
    WAYS = 4, /* the first is the latest */
};

struct entry {
    ino_num ino; /* 0: empty */
    int64_t ctime_ns, mtime_ns;
    uint64_t length;
    uint8_t digest[16];
};

struct keep_table {
    struct entry sets[SETS][WAYS];
};

struct keep_table *keep_open(void)
{
    return calloc(1, sizeof(struct keep_table));
}

void keep_close(struct keep_table **table)
{
    free(*table);
    *table = NULL;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct entry entry_of(ino_num ino, const struct keep_stamp *stamp)
{
    struct entry entry = {.ino = ino,
                          .ctime_ns = nanoseconds(stamp->ctime),
                          .mtime_ns = nanoseconds(stamp->mtime),
                          .length = stamp->length};
    memcpy(entry.digest, stamp->digest, sizeof(entry.digest));
    return entry;
}

static struct entry *set_of(struct keep_table *t, ino_num ino)
{
    return t->sets[hash_u64(ino) % SETS];
}

void keep_remove(struct keep_table *t, ino_num ino)
{
    if (!t)
        return;
    struct entry *set = set_of(t, ino);
    for (int i = 0; i < WAYS; i++) {
        if (set[i].ino == ino)
            set[i].ino = 0;
    }
}

void keep_put(struct keep_table *t, ino_num ino, const struct keep_stamp *stamp)
{
    if (!t)
        return;
    struct entry *set = set_of(t, ino);
    int way = 0;
    while (way < WAYS - 1 && set[way].ino && set[way].ino != ino)
        way++;
    memmove(&set[1], &set[0], (size_t)way * sizeof(*set));
    set[0] = entry_of(ino, stamp);
}

bool keep_matches(const struct keep_table *t, ino_num ino, const struct keep_stamp *stamp)
{
    if (!t)
        return false;
    const struct entry wanted = entry_of(ino, stamp);
    const struct entry *set = t->sets[hash_u64(ino) % SETS];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].ino == ino)
            return memcmp(&set[i], &wanted, sizeof(wanted)) == 0;
    }
    return false;
}

bool keep_stamp_equal(const struct keep_stamp *a, const struct keep_stamp *b)
{
    const struct entry x = entry_of(1, a), y = entry_of(1, b);
    return memcmp(&x, &y, sizeof(x)) == 0;
}
