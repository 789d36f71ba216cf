/*
 * Sums over trees. One walk adds up many trees at once, each into a sum of its own, so that a wide
 * directory costs few exchanges.
 */
#include "fs/vfs/tree_sum.h"

#include <errno.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/log.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/writer.h"

enum {
    DIRS_AT_ONCE = 256,
    DEPTH_MAX = 10000, /* deeper is a circle, which two stock clients can make */
    ENTRY_BYTES = 4096,
};

ino_num tree_inside(const struct vfs *vfs, ino_num ino)
{
    return vfs_inside(vfs, ino);
}

enum rc tree_reach(struct vfs *vfs, const struct meta_caller *who, ino_num ino, struct err *e)
{
    if (who->uid == 0 && vfs->root == META_ROOT)
        return RC_OK;
    return meta_reach(vfs->meta, vfs_inside(vfs, ino), vfs->root, who, e);
}

enum rc tree_access(struct vfs *vfs, const struct meta_caller *who, ino_num ino, int mask,
                    struct err *e)
{
    if (tree_reach(vfs, who, ino, e) || who->uid == 0)
        return e->code;
    return meta_access(vfs->meta, vfs_inside(vfs, ino), who->uid, who->gids, who->gid_count, mask,
                       e);
}

/* ---- what is buffered here ---- */

static void flush_inode(struct inode *in, void *arg)
{
    struct err *first = arg, e = ERR_INIT;
    if (writer_flush(in, &e) && first->code == RC_OK)
        *first = e;
}

enum rc tree_sync(struct vfs *vfs, struct err *e)
{
    struct err first = ERR_INIT, uncounted = ERR_INIT;
    if (vfs->is_read_only)
        return RC_OK;
    inode_each(vfs, flush_inode, &first);
    /* Late counts are no reason to refuse: the next flush brings them. */
    if (meta_flush_usage(vfs->meta, &uncounted))
        log_err(LOG_LEVEL_WARN, &uncounted, "could not flush usage yet");
    if (first.code)
        *e = first;
    return first.code;
}

/* ---- the walk ---- */

struct sum_item {
    ino_num ino;
    uint32_t depth;
    struct meta_summary *into;
};

struct sum_walk {
    bool is_recursive, is_strict;
    struct tree_watch *watch;
    struct sum_item *items; /* a stack */
    size_t count, capacity;
    struct sum_item batch[DIRS_AT_ONCE];
    size_t batch_count, batch_at;
};

static enum rc push(struct sum_walk *w, struct sum_item item, struct err *e)
{
    if (item.depth > DEPTH_MAX)
        return err_refused(e, ELOOP, "directory %llu is deeper than any path",
                           (unsigned long long)item.ino);
    if (array_reserve(&w->items, &w->capacity, w->count + 1, sizeof(*w->items), e))
        return err_note(e, "could not remember all directories");
    w->items[w->count++] = item;
    return RC_OK;
}

/* Answers come in the order of the questions; a directory that is gone has none. */
static const struct sum_item *item_of(struct sum_walk *w, ino_num dir)
{
    while (w->batch_at < w->batch_count && w->batch[w->batch_at].ino != dir)
        w->batch_at++;
    return w->batch_at < w->batch_count ? &w->batch[w->batch_at++] : NULL;
}

static enum rc add(const struct meta_sums *sums, void *arg, struct err *e)
{
    struct sum_walk *w = arg;
    const struct sum_item *item = item_of(w, sums->dir);
    if (!item)
        return err_fail(e, RC_CORRUPT, "sums of a directory that was not asked for");
    item->into->files += sums->files;
    item->into->dirs += sums->dirs;
    item->into->length += sums->length;
    item->into->space += sums->space;
    atomic_fetch_add(&w->watch->first, sums->files + sums->dirs);
    atomic_fetch_add(&w->watch->second, sums->space);
    for (size_t i = 0; w->is_recursive && i < sums->child_count; i++) {
        const struct sum_item child = {sums->children[i], item->depth + 1, item->into};
        if (push(w, child, e))
            return e->code;
    }
    return RC_OK;
}

static enum rc add_batch(struct sum_walk *w, struct meta *meta, struct err *e)
{
    ino_num dirs[DIRS_AT_ONCE];
    w->batch_count = w->count < DIRS_AT_ONCE ? w->count : DIRS_AT_ONCE;
    w->batch_at = 0;
    w->count -= w->batch_count;
    memcpy(w->batch, w->items + w->count, w->batch_count * sizeof(*w->batch));
    for (size_t i = 0; i < w->batch_count; i++)
        dirs[i] = w->batch[i].ino;
    return meta_tree_sums(meta, dirs, w->batch_count, w->is_strict, add, w, e);
}

enum rc tree_sum_dirs(struct vfs *vfs, const struct tree_sum_root *roots, size_t count,
                      bool is_recursive, bool is_strict, struct tree_watch *watch, struct err *e)
{
    auto_free struct sum_walk *w = calloc(1, sizeof(*w));
    if (!w)
        return err_fail(e, RC_NO_SPACE, "could not begin to add up a tree");
    w->is_recursive = is_recursive;
    w->is_strict = is_strict;
    w->watch = watch;
    enum rc rc = RC_OK;
    for (size_t i = 0; !rc && i < count; i++)
        rc = push(w, (struct sum_item){roots[i].ino, 0, roots[i].into}, e);
    while (!rc && w->count) {
        rc = atomic_load(&watch->is_cancelled) ? err_fail(e, RC_CANCELLED, "cancelled")
                                               : add_batch(w, vfs->meta, e);
    }
    free(w->items);
    return rc;
}

/* What any entry takes, as stock clients show it. */
uint64_t tree_entry_bytes(const struct node_attr *attr)
{
    const uint64_t length = attr->type == NODE_FILE ? attr->length : 0;
    return length == 0 ? ENTRY_BYTES : (length + ENTRY_BYTES - 1) / ENTRY_BYTES * ENTRY_BYTES;
}

enum rc tree_sum(struct vfs *vfs, ino_num ino, bool is_recursive, bool is_strict,
                 struct meta_summary *out, struct tree_watch *watch, struct err *e)
{
    struct node_attr attr;
    const struct tree_sum_root root = {vfs_inside(vfs, ino), out};
    if (meta_getattr(vfs->meta, root.ino, &attr, e))
        return e->code;
    const bool is_dir = attr.type == NODE_DIRECTORY;
    *out = (struct meta_summary){
        .files = !is_dir,
        .dirs = is_dir,
        .length = attr.type == NODE_FILE ? attr.length : 0,
        .space = tree_entry_bytes(&attr),
    };
    return is_dir ? tree_sum_dirs(vfs, &root, 1, is_recursive, is_strict, watch, e) : RC_OK;
}
