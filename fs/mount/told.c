#include "fs/mount/told.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/lock.h"

#define SETS ((size_t)16384)
#define WAYS 4

struct entry {
    ino_num ino; /* 0: free */
    uint64_t length;
    uint64_t until_ms;
    struct timespec ctime;
    uint32_t access_acl, default_acl;
    bool is_trashed;
};

struct told {
    uint64_t valid_ms; /* set at open */
    bool has_acls;     /* set at open */
    struct lock lock;  /* guards the rest */
    struct entry sets[SETS][WAYS];
};

enum rc told_open(struct told **out, uint64_t valid_ms, bool has_acls, struct err *e)
{
    struct told *t = calloc(1, sizeof(*t)); /* pages of it that are not used cost nothing */
    if (!t)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of lengths");
    t->valid_ms = valid_ms;
    t->has_acls = has_acls;
    lock_init(&t->lock, LOCK_BASE_QUEUE);
    *out = t;
    return RC_OK;
}

void told_close(struct told **told)
{
    if (!*told)
        return;
    lock_deinit(&(*told)->lock);
    free(*told);
    *told = NULL;
}

static struct entry *set_of(struct told *t, ino_num ino)
{
    return t->sets[hash_u64(ino) % SETS];
}

static struct entry *find_locked(struct told *t, ino_num ino)
{
    struct entry *set = set_of(t, ino);
    for (int i = 0; i < WAYS; i++)
        if (set[i].ino == ino)
            return &set[i];
    return NULL;
}

/* The place of ino, else the one that runs out first. */
static struct entry *place_locked(struct told *t, ino_num ino)
{
    struct entry *set = set_of(t, ino);
    struct entry *best = find_locked(t, ino);
    for (int i = 0; !best && i < WAYS; i++)
        if (set[i].ino == 0)
            best = &set[i];
    if (best)
        return best;
    best = set;
    for (int i = 1; i < WAYS; i++)
        if (set[i].until_ms < best->until_ms)
            best = &set[i];
    return best;
}

/* An answer that came late must not bring back lists that have been replaced meanwhile. */
static void set_acls(struct entry *entry, const struct node_attr *attr)
{
    if (entry->ino == attr->ino && clock_ms() < entry->until_ms &&
        (attr->ctime.tv_sec < entry->ctime.tv_sec ||
         (attr->ctime.tv_sec == entry->ctime.tv_sec && attr->ctime.tv_nsec < entry->ctime.tv_nsec)))
        return;
    entry->ctime = attr->ctime;
    entry->access_acl = attr->access_acl;
    entry->default_acl = attr->default_acl;
}

/* A name of it was removed: by then its parent is a directory of the trash. */
static bool is_trashed(const struct node_attr *attr)
{
    return attr->parent > META_TRASH;
}

void told_attr(struct told *t, const struct node_attr *attr)
{
    if (attr->type != NODE_FILE && !t->has_acls)
        return;
    LOCK_SCOPE(&t->lock);
    struct entry *entry = place_locked(t, attr->ino);
    set_acls(entry, attr);
    if (entry->ino != attr->ino)
        entry->is_trashed = false;
    entry->ino = attr->ino;
    entry->length = attr->length;
    entry->until_ms = clock_deadline(t->valid_ms);
}

void told_name(struct told *t, const struct node_attr *attr)
{
    told_attr(t, attr);
    LOCK_SCOPE(&t->lock);
    struct entry *entry = find_locked(t, attr->ino);
    if (entry)
        entry->is_trashed = is_trashed(attr);
}

bool told_acl(struct told *t, ino_num ino, enum acl_type type, uint32_t *id)
{
    LOCK_SCOPE(&t->lock);
    const struct entry *entry = find_locked(t, ino);
    if (!entry || clock_ms() >= entry->until_ms)
        return false;
    *id = type == ACL_ACCESS ? entry->access_acl : entry->default_acl;
    return true;
}

void told_written(struct told *t, ino_num ino, uint64_t end)
{
    LOCK_SCOPE(&t->lock);
    struct entry *entry = find_locked(t, ino);
    if (entry && entry->length < end)
        entry->length = end;
}

bool told_differs(struct told *t, const struct node_attr *attr)
{
    LOCK_SCOPE(&t->lock);
    const struct entry *entry = find_locked(t, attr->ino);
    /* After its time the kernel asks by itself before it opens, and so brings it up to date. */
    return !entry || entry->length != attr->length || entry->is_trashed != is_trashed(attr);
}
