#include "fs/vfs/dirs.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "fs/base/lock.h"

enum {
    SLOTS = 1024,
    /* A directory's times are left alone for so long after a change in it (format §12). */
    FRESH_US = 100000,
};

struct slot {
    struct node_attr attr; /* ino 0: nothing is known */
    uint64_t until_ms;
    bool is_owed;

    /* of all directories that fall here */
    unsigned changing; /* changes on their way */
    uint64_t moved;    /* the clock when one last began or ended */
};

struct dirs {
    uint64_t valid_ms; /* set at open */

    struct lock lock; /* guards the rest */
    uint64_t clock;   /* counts what happens, so that "before" has a meaning */
    struct slot slots[SLOTS];
};

enum rc dirs_open(struct dirs **out, uint64_t valid_ms, struct err *e)
{
    struct dirs *d = calloc(1, sizeof(*d));
    if (!d)
        return err_fail(e, RC_NO_SPACE, "could not allocate the table of directories");
    d->valid_ms = valid_ms;
    lock_init(&d->lock, LOCK_VFS_DIRS);
    *out = d;
    return RC_OK;
}

void dirs_close(struct dirs **dirs)
{
    if (!*dirs)
        return;
    lock_deinit(&(*dirs)->lock);
    free(*dirs);
    *dirs = NULL;
}

static struct slot *slot_of(struct dirs *d, ino_num dir)
{
    return &d->slots[hash_u64(dir) % SLOTS];
}

/* ---- answers ---- */

uint64_t dirs_asking(struct dirs *d)
{
    LOCK_SCOPE(&d->lock);
    return d->clock;
}

void dirs_learn(struct dirs *d, uint64_t asking, const struct node_attr *attr)
{
    if (attr->type != NODE_DIRECTORY || d->valid_ms == 0)
        return;
    LOCK_SCOPE(&d->lock);
    struct slot *s = slot_of(d, attr->ino);
    if (s->changing || s->moved > asking)
        return;
    s->attr = *attr;
    s->until_ms = clock_deadline(d->valid_ms);
    s->is_owed = false;
}

bool dirs_owed(struct dirs *d, ino_num dir, struct node_attr *out, uint64_t *valid_ms)
{
    LOCK_SCOPE(&d->lock);
    struct slot *s = slot_of(d, dir);
    const uint64_t now_ms = clock_ms();
    if (s->attr.ino != dir || !s->is_owed || now_ms >= s->until_ms)
        return false;
    s->is_owed = false;
    *out = s->attr;
    *valid_ms = s->until_ms - now_ms;
    return true;
}

/* ---- changes ---- */

void dirs_begin(struct dirs *d, ino_num dir)
{
    LOCK_SCOPE(&d->lock);
    struct slot *s = slot_of(d, dir);
    s->changing++;
    s->moved = ++d->clock;
}

static struct slot *end_locked(struct dirs *d, ino_num dir)
{
    struct slot *s = slot_of(d, dir);
    s->changing--;
    s->moved = ++d->clock;
    return s;
}

static int64_t microseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* As tarn_1.next_ctime(): the time of a change grows with every change. */
static struct timespec next_ctime(struct timespec old, struct timespec now)
{
    const int64_t least_us = microseconds(old) + 1;
    if (microseconds(now) >= least_us)
        return now;
    return (struct timespec){least_us / 1000000, least_us % 1000000 * 1000};
}

/* As touch_directory() does it. False: the answer and the change do not go together. */
static bool touch(struct node_attr *attr, struct timespec when, int links)
{
    const int64_t age_us = microseconds(when) - microseconds(attr->mtime);
    if (age_us < 0)
        return false;
    if (links == 0 && age_us < FRESH_US)
        return true;
    attr->mtime = when;
    attr->ctime = next_ctime(attr->ctime, when);
    attr->nlink = (uint32_t)((int64_t)attr->nlink + links);
    return true;
}

void dirs_changed(struct dirs *d, ino_num dir, struct timespec when, int links)
{
    LOCK_SCOPE(&d->lock);
    struct slot *s = end_locked(d, dir);
    if (s->attr.ino != dir)
        return;
    s->is_owed = true;
    if (!touch(&s->attr, when, links))
        s->attr.ino = 0;
}

void dirs_unchanged(struct dirs *d, ino_num dir)
{
    LOCK_SCOPE(&d->lock);
    (void)end_locked(d, dir);
}

void dirs_forget(struct dirs *d, ino_num dir)
{
    LOCK_SCOPE(&d->lock);
    struct slot *s = end_locked(d, dir);
    if (s->attr.ino == dir)
        s->attr.ino = 0;
}

void dirs_clear(struct dirs *d)
{
    LOCK_SCOPE(&d->lock);
    d->clock++;
    for (int i = 0; i < SLOTS; i++) {
        d->slots[i].attr.ino = 0;
        d->slots[i].moved = d->clock;
    }
}
