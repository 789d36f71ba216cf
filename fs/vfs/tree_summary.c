/*
 * The summary of a tree: the largest entries, and the largest of theirs. Of a directory's files
 * only the largest are kept while it is read; its directories are added up in one walk.
 */
#include <errno.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/meta/namespace.h"
#include "fs/vfs/state.h"
#include "fs/vfs/tree_sum.h"

#define PAGE 1024

static const char others_name[] = "...";

struct summing {
    struct vfs *vfs;
    unsigned top;
    bool is_strict;
    struct tree_watch *watch;
};

/* The entries of one directory while it is read. */
struct gathering {
    struct tree_entry *dirs, *files; /* files: the largest, largest first */
    size_t dir_count, dir_capacity, file_count;
    struct tree_entry others; /* files that are not among them */
};

void tree_entry_deinit(struct tree_entry *entry)
{
    for (size_t i = 0; i < entry->child_count; i++)
        tree_entry_deinit(&entry->children[i]);
    free(entry->children);
    free(entry->name);
    *entry = (struct tree_entry){0};
}

static void gathering_deinit(struct gathering *g)
{
    for (size_t i = 0; i < g->dir_count; i++)
        tree_entry_deinit(&g->dirs[i]);
    for (size_t i = 0; i < g->file_count; i++)
        tree_entry_deinit(&g->files[i]);
    free(g->dirs);
    free(g->files);
}

static enum rc name_entry(struct tree_entry *entry, const void *name, size_t size, struct err *e)
{
    entry->name = malloc(size ? size : 1);
    if (!entry->name)
        return err_fail(e, RC_NO_SPACE, "could not allocate a name");
    memcpy(entry->name, name, size);
    entry->name_size = size;
    return RC_OK;
}

static void fold(struct tree_entry *into, const struct tree_entry *from)
{
    into->size += from->size;
    into->files += from->files;
    into->dirs += from->dirs;
}

static enum rc add_dir(struct gathering *g, const struct dir_entry *d, struct err *e)
{
    if (array_reserve(&g->dirs, &g->dir_capacity, g->dir_count + 1, sizeof(*g->dirs), e))
        return err_note(e, "could not remember all directories");
    struct tree_entry *entry = &g->dirs[g->dir_count];
    *entry = (struct tree_entry){.ino = d->attr.ino, .type = NODE_DIRECTORY};
    if (name_entry(entry, d->name, d->name_size, e))
        return e->code;
    g->dir_count++;
    return RC_OK;
}

static enum rc add_file(struct gathering *g, const struct dir_entry *d, unsigned top, struct err *e)
{
    struct tree_entry entry = {
        .ino = d->attr.ino, .type = d->attr.type, .size = tree_entry_bytes(&d->attr), .files = 1};
    if (g->file_count == top && (top == 0 || g->files[top - 1].size >= entry.size)) {
        fold(&g->others, &entry);
        return RC_OK;
    }
    if (name_entry(&entry, d->name, d->name_size, e))
        return e->code;
    if (g->file_count == top) {
        fold(&g->others, &g->files[top - 1]);
        tree_entry_deinit(&g->files[--g->file_count]);
    }
    size_t at = g->file_count++;
    for (; at > 0 && g->files[at - 1].size < entry.size; at--)
        g->files[at] = g->files[at - 1];
    g->files[at] = entry;
    return RC_OK;
}

static enum rc add_page(struct summing *s, struct gathering *g, const struct dir_entry *page,
                        uint32_t count, struct err *e)
{
    for (uint32_t i = 0; i < count; i++) {
        enum rc rc = page[i].attr.type == NODE_DIRECTORY ? add_dir(g, &page[i], e)
                                                         : add_file(g, &page[i], s->top, e);
        if (rc)
            return rc;
    }
    atomic_fetch_add(&s->watch->first, count);
    return RC_OK;
}

static enum rc gather(struct summing *s, ino_num dir, struct gathering *g, struct err *e)
{
    auto_free struct dir_entry *page = calloc(PAGE, sizeof(*page));
    g->files = calloc(s->top + 1, sizeof(*g->files));
    if (!page || !g->files)
        return err_fail(e, RC_NO_SPACE, "could not read a directory");
    struct bytes after = {NULL, 0};
    uint8_t last[META_NAME_MAX];
    uint32_t count = PAGE;
    while (count == PAGE) {
        if (atomic_load(&s->watch->is_cancelled))
            return err_fail(e, RC_CANCELLED, "cancelled");
        if (meta_readdir(s->vfs->meta, dir, after, true, page, &count, e) ||
            add_page(s, g, page, count, e))
            return e->code;
        if (count) {
            memcpy(last, page[count - 1].name, page[count - 1].name_size);
            after = (struct bytes){last, page[count - 1].name_size};
        }
    }
    return RC_OK;
}

static enum rc add_up(struct summing *s, struct gathering *g, struct err *e)
{
    auto_free struct tree_sum_root *roots = calloc(g->dir_count + 1, sizeof(*roots));
    auto_free struct meta_summary *sums = calloc(g->dir_count + 1, sizeof(*sums));
    if (!roots || !sums)
        return err_fail(e, RC_NO_SPACE, "could not add up %zu directories", g->dir_count);
    for (size_t i = 0; i < g->dir_count; i++)
        roots[i] = (struct tree_sum_root){g->dirs[i].ino, &sums[i]};
    if (tree_sum_dirs(s->vfs, roots, g->dir_count, true, s->is_strict, s->watch, e))
        return e->code;
    static const struct node_attr directory = {.type = NODE_DIRECTORY};
    for (size_t i = 0; i < g->dir_count; i++) {
        g->dirs[i].size = sums[i].space + tree_entry_bytes(&directory);
        g->dirs[i].files = sums[i].files;
        g->dirs[i].dirs = sums[i].dirs + 1;
    }
    return RC_OK;
}

static int by_size(const void *a, const void *b)
{
    const struct tree_entry *x = a, *y = b;
    return (x->size < y->size) - (x->size > y->size);
}

/* Directories and files together, the largest kept, the others in one entry. */
static enum rc choose(struct summing *s, struct gathering *g, struct tree_entry *into,
                      struct err *e)
{
    size_t all = g->dir_count + g->file_count;
    struct tree_entry *entries = calloc(all + 1, sizeof(*entries));
    if (!entries)
        return err_fail(e, RC_NO_SPACE, "could not keep %zu entries", all);
    if (g->dir_count)
        memcpy(entries, g->dirs, g->dir_count * sizeof(*entries));
    if (g->file_count)
        memcpy(entries + g->dir_count, g->files, g->file_count * sizeof(*entries));
    g->dir_count = g->file_count = 0;
    qsort(entries, all, sizeof(*entries), by_size);
    while (all > s->top) {
        fold(&g->others, &entries[--all]);
        tree_entry_deinit(&entries[all]);
    }
    into->children = entries;
    into->child_count = all;
    if (g->others.files + g->others.dirs == 0)
        return RC_OK;
    struct tree_entry *others = &entries[all];
    *others = (struct tree_entry){.type = NODE_FILE};
    fold(others, &g->others);
    if (name_entry(others, others_name, strlen(others_name), e))
        return e->code;
    into->child_count++;
    return RC_OK;
}

/* Show what is in a directory, depth levels down. */
static enum rc expand(struct summing *s, struct tree_entry *dir, unsigned depth, struct err *e)
{
    struct gathering g = {.dirs = NULL};
    enum rc rc = gather(s, dir->ino, &g, e);
    if (!rc)
        rc = add_up(s, &g, e);
    if (!rc)
        rc = choose(s, &g, dir, e);
    gathering_deinit(&g);
    for (size_t i = 0; !rc && depth > 1 && i < dir->child_count; i++) {
        struct tree_entry *child = &dir->children[i];
        if (child->type != NODE_DIRECTORY)
            continue;
        rc = expand(s, child, depth - 1, e);
        if (rc == RC_REFUSED && e->posix == ENOENT)
            rc = RC_OK; /* removed since */
    }
    return rc;
}

enum rc tree_summary(struct vfs *vfs, ino_num ino, unsigned depth, unsigned top, bool is_strict,
                     struct tree_entry *out, struct tree_watch *watch, struct err *e)
{
    struct summing s = {vfs, top, is_strict, watch};
    struct meta_summary sum;
    struct node_attr attr;
    *out = (struct tree_entry){.ino = vfs_inside(vfs, ino)};
    if (meta_getattr(vfs->meta, out->ino, &attr, e))
        return e->code;
    out->type = attr.type;
    if (attr.type != NODE_DIRECTORY || depth == 0) {
        if (tree_sum(vfs, ino, true, is_strict, &sum, watch, e))
            return e->code;
        out->size = sum.space;
        out->files = sum.files;
        out->dirs = sum.dirs;
        return RC_OK;
    }
    enum rc rc = expand(&s, out, depth, e);
    out->dirs = 1;
    out->size = tree_entry_bytes(&attr);
    for (size_t i = 0; i < out->child_count; i++)
        fold(out, &out->children[i]);
    if (rc)
        tree_entry_deinit(out);
    return rc;
}
