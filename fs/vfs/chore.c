#include "fs/vfs/chore.h"

#include <stdlib.h>

#include "fs/vfs/inode.h"

enum {
    COUNTS = 1024,
    READ_RECORDS = 5,     /* worth a compaction to a reader */
    WRITE_RECORDS = 100,  /* a writer asks for one so often */
    STALL_RECORDS = 2500, /* a writer waits for one: it outruns them */
};

/* Records that we have added to a chunk, as far as we remember. */
struct chore_count {
    ino_num ino;
    uint32_t indx, records;
};

struct chores {
    struct lock lock; /* guards the rest */
    struct vfs_upkeep upkeep;
    struct chore_count counts[COUNTS];
};

enum rc chore_open(struct chores **out, struct err *e)
{
    struct chores *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "could not allocate the counts of records");
    lock_init(&c->lock, LOCK_VFS_USAGE);
    *out = c;
    return RC_OK;
}

void chore_close(struct chores **chores)
{
    if (*chores)
        lock_deinit(&(*chores)->lock);
    free(*chores);
    *chores = NULL;
}

void vfs_on_upkeep(struct vfs *vfs, const struct vfs_upkeep *upkeep)
{
    LOCK_SCOPE(&vfs->chores->lock);
    vfs->chores->upkeep = upkeep ? *upkeep : (struct vfs_upkeep){NULL, NULL, NULL};
}

static struct vfs_upkeep upkeep_of(struct vfs *vfs)
{
    LOCK_SCOPE(&vfs->chores->lock);
    return vfs->chores->upkeep;
}

void chore_removed(struct vfs *vfs, bool is_certain)
{
    const struct vfs_upkeep upkeep = upkeep_of(vfs);
    if (upkeep.removed)
        upkeep.removed(upkeep.arg, is_certain);
}

void chore_read(struct inode *in, const struct chunk_view *view)
{
    if (!view || (view->record_count < READ_RECORDS && view->extent_count < READ_RECORDS))
        return;
    const struct vfs_upkeep upkeep = upkeep_of(in->vfs);
    if (!upkeep.crowded)
        return;
    lock_take(&in->lock);
    const bool is_first = views_offer(&in->views, view);
    lock_drop(&in->lock);
    if (is_first)
        upkeep.crowded(upkeep.arg, in->ino, view->indx, false);
}

/* Count one more record; answers how many, 0 when there is nobody to tell. */
static uint32_t count_record(struct chores *c, ino_num ino, uint32_t indx)
{
    LOCK_SCOPE(&c->lock);
    struct chore_count *slot = &c->counts[hash_u64(ino ^ ((uint64_t)indx << 40)) % COUNTS];
    if (slot->ino != ino || slot->indx != indx)
        *slot = (struct chore_count){.ino = ino, .indx = indx};
    slot->records++;
    return c->upkeep.crowded ? slot->records : 0;
}

static void forget_count(struct chores *c, ino_num ino, uint32_t indx)
{
    LOCK_SCOPE(&c->lock);
    struct chore_count *slot = &c->counts[hash_u64(ino ^ ((uint64_t)indx << 40)) % COUNTS];
    if (slot->ino == ino && slot->indx == indx)
        slot->records = 0;
}

void chore_written(struct vfs *vfs, ino_num ino, const struct meta_written *slices, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t records = count_record(vfs->chores, ino, slices[i].indx);
        const bool waits = records >= STALL_RECORDS;
        if (!waits && records % WRITE_RECORDS != WRITE_RECORDS - 1)
            continue;
        const struct vfs_upkeep upkeep = upkeep_of(vfs);
        if (!upkeep.crowded)
            return;
        upkeep.crowded(upkeep.arg, ino, slices[i].indx, waits);
        if (waits)
            forget_count(vfs->chores, ino, slices[i].indx);
    }
}
