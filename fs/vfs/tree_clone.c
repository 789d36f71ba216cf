/*
 * Cloning a tree beside where it will be, and giving it its name at the end. Until then nobody can
 * reach it; what a crash leaves of it is found by its row in jfs_detached_node and removed by gc.
 */
#include <errno.h>

#include "fs/base/log.h"
#include "fs/vfs/crew.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/tree_detached.h"

struct cloning {
    struct vfs *vfs;
    const struct meta_caller *who;
    const struct meta_clone *what;
    struct tree_watch *watch;
};

struct cloned_dir {
    struct crew_task task; /* the first member */
    ino_num src, dst;
    struct meta_clone_at at;
};

static void drop(struct crew_task *task)
{
    free((struct cloned_dir *)task);
}

static struct cloned_dir *cloned_new(ino_num src, ino_num dst)
{
    struct cloned_dir *d = calloc(1, sizeof(*d));
    if (d) {
        d->src = src;
        d->dst = dst;
    }
    return d;
}

static enum rc descend(struct crew *crew, const struct meta_dirs *pairs, struct err *e)
{
    for (size_t i = 0; i + 1 < pairs->count; i += 2) {
        struct cloned_dir *d = cloned_new(pairs->inos[i], pairs->inos[i + 1]);
        if (!d)
            return err_fail(e, RC_NO_SPACE, "could not go down into a directory");
        crew_push(crew, &d->task);
    }
    return RC_OK;
}

static enum rc work(struct crew *crew, struct crew_task *task, struct err *e)
{
    struct cloning *c = crew_arg(crew);
    struct cloned_dir *d = (struct cloned_dir *)task;
    struct meta_dirs pairs = {NULL, 0};
    uint64_t made = 0;

    enum rc rc =
        meta_clone_entries(c->vfs->meta, d->src, d->dst, c->what, c->who, &d->at, &made, &pairs, e);
    /* Removed since it was listed: the clone has an empty directory in its place. */
    if (rc == RC_REFUSED && e->posix == ENOENT) {
        d->at.is_done = true;
        rc = RC_OK;
    }
    atomic_fetch_add(&c->watch->first, made);
    const bool goes_on = !rc && !d->at.is_done;
    if (goes_on)
        crew_push(crew, task); /* below its directories, which are done first */
    else
        drop(task);
    if (!rc)
        rc = descend(crew, &pairs, e);
    free(pairs.inos);
    return rc;
}

static enum rc clone_tree(struct cloning *c, ino_num dst, struct err *e)
{
    struct cloned_dir *top = cloned_new(c->what->src, dst);
    if (!top)
        return err_fail(e, RC_NO_SPACE, "could not begin to clone a tree");
    enum rc rc = crew_run(c->watch, work, drop, c, &top->task, e);
    if (!rc)
        rc = meta_attach(c->vfs->meta, dst, c->what->parent, c->what->name, e);
    if (!rc)
        return RC_OK;
    struct err left = ERR_INIT;
    if (tree_remove_detached(c->vfs, dst, &left))
        log_err(LOG_LEVEL_WARN, &left, "half a clone is left to gc");
    return rc;
}

enum rc tree_clone(struct vfs *vfs, const struct meta_caller *who, const struct tree_clone *what,
                   struct tree_watch *watch, struct err *e)
{
    struct meta_summary sum;
    struct node_attr attr;
    struct tree_watch unseen = {.threads = 1};

    if (vfs_check_writable(vfs, e) || tree_sync(vfs, e) ||
        tree_sum(vfs, what->src, true, false, &sum, &unseen, e))
        return e->code;
    const struct meta_clone inside = {
        .src = vfs_inside(vfs, what->src),
        .parent = vfs_inside(vfs, what->dst_parent),
        .name = what->name,
        .mode = what->mode,
        .umask = what->umask,
        .space = sum.space,
        .inodes = sum.files + sum.dirs,
    };
    struct cloning c = {vfs, who, &inside, watch};
    atomic_store(&watch->second, inside.inodes);
    dirs_begin(vfs->dirs, inside.parent);
    enum rc rc = meta_clone(vfs->meta, &inside, who, &attr, e);
    dirs_forget(vfs->dirs, inside.parent);
    if (rc)
        return rc;
    atomic_fetch_add(&watch->first, 1);
    return attr.type == NODE_DIRECTORY ? clone_tree(&c, attr.ino, e) : RC_OK;
}
