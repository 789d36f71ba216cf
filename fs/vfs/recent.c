#include "fs/vfs/recent.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "fs/base/hash.h"

enum {
    PLACES = 65536, /* many more than a page of a directory has entries */
};

struct recent {
    _Atomic uint64_t clock;
    _Atomic uint64_t places[PLACES];
};

enum rc recent_open(struct recent **out, struct err *e)
{
    *out = calloc(1, sizeof(**out));
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "could not allocate the table of changes");
}

void recent_close(struct recent **recent)
{
    free(*recent);
    *recent = NULL;
}

uint64_t recent_asking(const struct recent *r)
{
    return atomic_load(&r->clock);
}

static uint64_t key_of_name(ino_num dir, struct bytes name)
{
    return hash_u64(dir) ^ hash_bytes(name.data, name.size);
}

/* Of two changes that share a place the later counts, whoever gets to the place first. */
static void mark(struct recent *r, uint64_t key)
{
    _Atomic uint64_t *place = &r->places[key % PLACES];
    const uint64_t now = atomic_fetch_add(&r->clock, 1) + 1;
    uint64_t was = atomic_load(place);
    while (was < now && !atomic_compare_exchange_weak(place, &was, now))
        ;
}

static bool is_marked(const struct recent *r, uint64_t asking, uint64_t key)
{
    return atomic_load(&r->places[key % PLACES]) > asking;
}

void recent_inode(struct recent *r, ino_num ino)
{
    mark(r, hash_u64(ino));
}

void recent_name(struct recent *r, ino_num dir, struct bytes name)
{
    mark(r, key_of_name(dir, name));
}

bool recent_has(const struct recent *r, uint64_t asking, ino_num ino)
{
    return is_marked(r, asking, hash_u64(ino));
}

bool recent_has_name(const struct recent *r, uint64_t asking, ino_num dir, struct bytes name)
{
    return is_marked(r, asking, key_of_name(dir, name));
}
