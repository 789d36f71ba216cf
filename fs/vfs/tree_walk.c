#include "fs/vfs/tree_walk.h"

#include <errno.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/meta/namespace.h"
#include "fs/vfs/state.h"

#define PAGE 1024

struct walk {
    struct vfs *vfs;
    tree_visit visit;
    void *arg;
    struct tree_watch *watch;
    struct dir_entry *page;
    ino_num *dirs; /* a stack of what is still to be read */
    size_t count, capacity;
};

static enum rc push(struct walk *w, ino_num ino, struct err *e)
{
    if (array_reserve(&w->dirs, &w->capacity, w->count + 1, sizeof(*w->dirs), e))
        return err_note(e, "could not remember all directories");
    w->dirs[w->count++] = ino;
    return RC_OK;
}

static bool is_gone(enum rc rc, const struct err *e)
{
    return rc == RC_REFUSED && e->posix == ENOENT;
}

static enum rc look_at(struct walk *w, const struct node_attr *attr, struct err *e)
{
    if (attr->type == NODE_DIRECTORY)
        return push(w, attr->ino, e);
    if (attr->type != NODE_FILE)
        return RC_OK;
    enum rc rc = w->visit(w->arg, attr, e);
    return is_gone(rc, e) ? RC_OK : rc;
}

static enum rc read_dir(struct walk *w, ino_num dir, struct err *e)
{
    struct bytes after = {NULL, 0};
    uint8_t last[META_NAME_MAX];
    uint32_t count = PAGE;
    while (count == PAGE) {
        if (atomic_load(&w->watch->is_cancelled))
            return err_fail(e, RC_CANCELLED, "cancelled");
        if (meta_readdir(w->vfs->meta, dir, after, true, w->page, &count, e))
            return e->code;
        for (uint32_t i = 0; i < count; i++)
            if (look_at(w, &w->page[i].attr, e))
                return e->code;
        if (count) {
            memcpy(last, w->page[count - 1].name, w->page[count - 1].name_size);
            after = (struct bytes){last, w->page[count - 1].name_size};
        }
    }
    return RC_OK;
}

enum rc tree_each_file(struct vfs *vfs, const struct node_attr *attr, tree_visit visit, void *arg,
                       struct tree_watch *watch, struct err *e)
{
    struct walk w = {.vfs = vfs, .visit = visit, .arg = arg, .watch = watch};
    w.page = calloc(PAGE, sizeof(*w.page));
    if (!w.page)
        return err_fail(e, RC_NO_SPACE, "could not read a directory");
    enum rc rc = look_at(&w, attr, e);
    while (!rc && w.count) {
        rc = read_dir(&w, w.dirs[--w.count], e);
        rc = is_gone(rc, e) ? RC_OK : rc;
    }
    free(w.dirs);
    free(w.page);
    return rc;
}
