/*
 * Removing a tree, pages of directories at a time.
 *
 * A directory is a task. Each time it is done, one page of its files goes; the directories of the
 * page become tasks of their own, and when the last of them has ended the directory is a task
 * again. The one that finds nothing left has removed the directory as well.
 */
#include <errno.h>

#include "fs/vfs/chore.h"
#include "fs/vfs/crew.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/tree_detached.h"

#define PAGE 256 /* names in one transaction */
/* Rounds in which a directory did not become smaller, because others fill it as fast. */
#define ROUNDS_MAX 1000

struct removal {
    struct vfs *vfs;
    const struct meta_caller *who;
    int mode; /* enum rmr_mode */
    struct tree_watch *watch;
};

struct doomed_dir {
    struct crew_task task; /* the first member */
    struct doomed_dir *above;
    ino_num parent, ino;
    unsigned pending; /* directories in it that are tasks; of the crew's lock */
    unsigned idle;    /* rounds that removed nothing */
};

static struct doomed_dir *doomed_new(struct doomed_dir *above, ino_num parent, ino_num ino)
{
    struct doomed_dir *d = calloc(1, sizeof(*d));
    if (d)
        *d = (struct doomed_dir){.above = above, .parent = parent, .ino = ino};
    return d;
}

/* Tasks that wait for others are on no list: they go with the last of those. */
static void drop(struct crew_task *task)
{
    struct doomed_dir *d = (struct doomed_dir *)task;
    while (d) {
        struct doomed_dir *above = d->above;
        free(d);
        d = above && --above->pending == 0 ? above : NULL;
    }
}

static bool was_last(struct crew_task *task)
{
    struct doomed_dir *d = (struct doomed_dir *)task;
    return --d->pending == 0;
}

static void ended(struct crew *crew, struct doomed_dir *d)
{
    struct doomed_dir *above = d->above;
    free(d);
    if (above)
        crew_push_if(crew, was_last, &above->task);
}

static void free_all(struct doomed_dir *dirs)
{
    while (dirs) {
        struct crew_task *next = dirs->task.next;
        free(dirs);
        dirs = (struct doomed_dir *)next;
    }
}

/* The directories found in d become tasks, all of them or none. */
static enum rc descend(struct crew *crew, struct doomed_dir *d, const struct meta_dirs *dirs,
                       struct err *e)
{
    struct doomed_dir *below = NULL;
    for (size_t i = 0; i < dirs->count; i++) {
        struct doomed_dir *child = doomed_new(d, d->ino, dirs->inos[i]);
        if (!child) {
            free_all(below);
            return err_fail(e, RC_NO_SPACE, "could not go down into a directory");
        }
        child->task.next = below ? &below->task : NULL;
        below = child;
    }
    d->pending = (unsigned)dirs->count;
    while (below) {
        struct crew_task *next = below->task.next;
        crew_push(crew, &below->task);
        below = (struct doomed_dir *)next;
    }
    return RC_OK;
}

static enum rc remove_page(struct removal *r, const struct doomed_dir *d, uint64_t *removed,
                           bool *is_gone, struct meta_dirs *dirs, struct err *e)
{
    auto_free ino_num *opened = NULL;
    struct meta_rmr what = {.parent = d->parent, .dir = d->ino, .limit = PAGE, .mode = r->mode};
    if (inode_list_opened(r->vfs, &opened, &what.opened_count, e))
        return e->code;
    what.opened = opened;
    enum rc rc = meta_rmr(r->vfs->meta, &what, r->who, removed, is_gone, dirs, e);
    /* Gone already, or moved out of the tree: nothing of ours either way. */
    if (rc == RC_REFUSED && e->posix == ENOENT) {
        *is_gone = true;
        return RC_OK;
    }
    /* Which inodes lost their last name the answer does not say. */
    if (!rc && *removed && what.opened_count)
        inode_suspect_in(r->vfs, d->ino);
    return rc;
}

static enum rc work(struct crew *crew, struct crew_task *task, struct err *e)
{
    struct removal *r = crew_arg(crew);
    struct doomed_dir *d = (struct doomed_dir *)task;
    struct meta_dirs dirs = {NULL, 0};
    uint64_t removed = 0;
    bool is_gone = false;

    enum rc rc = remove_page(r, d, &removed, &is_gone, &dirs, e);
    atomic_fetch_add(&r->watch->first, removed);
    d->idle = removed ? 0 : d->idle + 1;
    if (!rc && d->idle > ROUNDS_MAX)
        rc = err_refused(e, ENOTEMPTY, "directory %llu is filled as fast as it is emptied",
                         (unsigned long long)d->ino);
    if (!rc && dirs.count)
        rc = descend(crew, d, &dirs, e);
    if (!rc && is_gone)
        ended(crew, d);
    else if (rc || dirs.count == 0)
        crew_push(crew, task); /* after a failure: to be freed when nobody works any more */
    free(dirs.inos);
    return rc;
}

static enum rc remove_below(struct removal *r, ino_num parent, ino_num ino, struct err *e)
{
    struct doomed_dir *top = doomed_new(NULL, parent, ino);
    if (!top)
        return err_fail(e, RC_NO_SPACE, "could not begin to remove a tree");
    return crew_run(r->watch, work, drop, r, &top->task, e);
}

static enum rc remove_file(struct removal *r, ino_num parent, struct bytes name, struct err *e)
{
    auto_free ino_num *opened = NULL;
    struct node_attr attr;
    struct meta_rmr what = {.parent = parent, .mode = r->mode};
    if (inode_list_opened(r->vfs, &opened, &what.opened_count, e))
        return e->code;
    what.opened = opened;
    if (meta_rmr_file(r->vfs->meta, &what, name, r->who, &attr, e))
        return e->code;
    if (attr.nlink == 0)
        inode_orphaned(r->vfs, attr.ino);
    atomic_fetch_add(&r->watch->first, 1);
    return RC_OK;
}

enum rc tree_remove(struct vfs *vfs, const struct meta_caller *who, ino_num parent,
                    struct bytes name, bool skip_trash, struct tree_watch *watch, struct err *e)
{
    struct node_attr attr;
    struct removal r = {vfs, who, skip_trash ? RMR_SKIP_TRASH : 0, watch};
    const ino_num above = vfs_inside(vfs, parent);

    if (vfs_check_writable(vfs, e))
        return e->code;
    if (skip_trash && who->uid != 0)
        return err_refused(e, EPERM, "only root removes past the trash");
    if (meta_lookup(vfs->meta, above, name, &attr, e) ||
        meta_access(vfs->meta, above, who->uid, who->gids, who->gid_count, 3, e))
        return e->code;
    /* What is thrown away already does not go through the trash again. */
    if (above >= META_TRASH && who->uid == 0)
        r.mode |= RMR_SKIP_TRASH;
    dirs_begin(vfs->dirs, above);
    enum rc rc = attr.type == NODE_DIRECTORY ? remove_below(&r, above, attr.ino, e)
                                             : remove_file(&r, above, name, e);
    dirs_forget(vfs->dirs, above);
    if (atomic_load(&watch->first))
        chore_removed(vfs, true);
    return rc;
}

enum rc tree_remove_detached(struct vfs *vfs, ino_num ino, struct err *e)
{
    static const uint32_t group = 0;
    const struct meta_caller root = {0, &group, 1};
    struct tree_watch unseen = {.threads = 4};
    struct removal r = {vfs, &root, RMR_SKIP_TRASH | RMR_DETACHED, &unseen};
    enum rc rc = remove_below(&r, 0, ino, e);
    chore_removed(vfs, true);
    return rc;
}
