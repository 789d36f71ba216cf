/*
 * Open directories. Entries come in pages by name, and positions are counted: 0 is ".", 1 is "..",
 * 2 the first entry. For each page the handle remembers the name before it, so that a position
 * seen earlier can be found again; the page before the current one stays in memory, because the
 * kernel asks again for the end of a reply that its caller had no room for.
 */
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/clock.h"
#include "fs/vfs/atime.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/names.h"

enum {
    FIRST_PAGE = 256,  /* most directories are small */
    WHOLE_PAGE = 4096, /* 1.7 MB: a far server is asked seldom, and memory is bounded */
    DOTS = 2,
    PAGES_HELD = 2,
};

/* Where a page begins. */
struct page_mark {
    uint64_t start;     /* position of its first entry */
    uint8_t *after;     /* the name before it */
    uint8_t after_size; /* 0: from the start of the directory */
};

struct page {
    uint64_t start;
    uint64_t asked_ms, asking; /* when it was asked for, and what was known then */
    uint32_t count;
    bool is_last;
    struct dir_entry *entries; /* NULL: no page */
};

struct vfs_dir {
    struct vfs *vfs;
    struct vfs_dir *next, **back;  /* of the vfs, under its table's lock */
    ino_num ino;                   /* as the kernel numbers it */
    struct page pages[PAGES_HELD]; /* the first is the latest */
    struct page_mark *marks;
    size_t mark_count, mark_capacity;
    struct dir_entry dot;
};

static void add_to_list(struct vfs_dir *d)
{
    LOCK_SCOPE(&d->vfs->table);
    d->next = d->vfs->open_dirs;
    d->back = &d->vfs->open_dirs;
    if (d->next)
        d->next->back = &d->next;
    d->vfs->open_dirs = d;
}

static void remove_from_list(struct vfs_dir *d)
{
    LOCK_SCOPE(&d->vfs->table);
    *d->back = d->next;
    if (d->next)
        d->next->back = d->back;
}

enum rc vfs_opendir(struct vfs *vfs, ino_num ino, struct vfs_dir **out, struct err *e)
{
    struct vfs_dir *d = calloc(1, sizeof(*d));
    if (!d)
        return err_fail(e, RC_NO_SPACE, "could not allocate a directory handle");
    d->vfs = vfs;
    d->ino = ino;
    add_to_list(d);
    *out = d;
    return RC_OK;
}

static void page_free(struct page *page)
{
    free(page->entries);
    *page = (struct page){0};
}

void vfs_releasedir(struct vfs_dir **dir)
{
    struct vfs_dir *d = *dir;
    if (!d)
        return;
    *dir = NULL;
    remove_from_list(d);
    for (int i = 0; i < PAGES_HELD; i++)
        page_free(&d->pages[i]);
    for (size_t i = 0; i < d->mark_count; i++)
        free(d->marks[i].after);
    free(d->marks);
    free(d);
}

void vfs_release_dirs(struct vfs *vfs)
{
    struct vfs_dir *d;
    while ((d = vfs->open_dirs))
        vfs_releasedir(&d);
}

/* ---- marks ---- */

/* The mark of the page that has this position. */
static const struct page_mark *mark_for(const struct vfs_dir *d, uint64_t position)
{
    static const struct page_mark start = {.start = DOTS};
    size_t low = 0, high = d->mark_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (d->marks[middle].start <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &d->marks[low - 1] : &start;
}

/* Remember where the page after this one begins. */
static enum rc add_mark(struct vfs_dir *d, const struct page *page, struct err *e)
{
    const struct dir_entry *last = &page->entries[page->count - 1];
    const uint64_t start = page->start + page->count;

    if (d->mark_count && d->marks[d->mark_count - 1].start >= start)
        return RC_OK;
    if (array_reserve(&d->marks, &d->mark_capacity, d->mark_count + 1, sizeof(*d->marks), e))
        return err_note(e, "could not remember a place in a directory");
    struct page_mark mark = {.start = start, .after_size = last->name_size};
    mark.after = malloc(last->name_size);
    if (!mark.after)
        return err_fail(e, RC_NO_SPACE, "could not remember a place in a directory");
    memcpy(mark.after, last->name, last->name_size);
    d->marks[d->mark_count++] = mark;
    return RC_OK;
}

/* ---- pages ---- */

static void outward_entries(struct vfs *vfs, struct page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        if (page->entries[i].has_attr)
            names_outward(vfs, &page->entries[i].attr);
    }
}

static void page_cleanup(struct page *page)
{
    page_free(page);
}

static enum rc fetch_page(struct vfs_dir *d, const struct page_mark *mark, bool with_attr,
                          struct err *e)
{
    const uint32_t wanted = mark->start == DOTS ? FIRST_PAGE : WHOLE_PAGE;
    const struct bytes after = {mark->after, mark->after_size};
    __attribute__((cleanup(page_cleanup))) struct page page = {.start = mark->start,
                                                               .count = wanted};
    page.asked_ms = clock_ms();
    page.asking = recent_asking(d->vfs->recent);
    page.entries = malloc(wanted * sizeof(*page.entries));
    if (!page.entries)
        return err_fail(e, RC_NO_SPACE, "could not allocate a page of a directory");
    enum rc rc = meta_readdir(d->vfs->meta, vfs_inside(d->vfs, d->ino), after, with_attr,
                              page.entries, &page.count, e);
    if (rc)
        return rc;
    page.is_last = page.count < wanted;
    if (!page.is_last && add_mark(d, &page, e))
        return e->code;
    outward_entries(d->vfs, &page);
    page_free(&d->pages[PAGES_HELD - 1]);
    memmove(&d->pages[1], &d->pages[0], (PAGES_HELD - 1) * sizeof(d->pages[0]));
    d->pages[0] = page;
    page = (struct page){0};
    return RC_OK;
}

static const struct page *page_with(const struct vfs_dir *d, uint64_t position)
{
    for (int i = 0; i < PAGES_HELD; i++) {
        const struct page *page = &d->pages[i];
        if (page->entries && position >= page->start &&
            (position < page->start + page->count || page->is_last))
            return page;
    }
    return NULL;
}

/* Has this mount done something to the entry that the page does not know? */
static bool is_overtaken(const struct vfs_dir *d, const struct page *page,
                         const struct dir_entry *entry)
{
    const struct recent *recent = d->vfs->recent;
    const struct bytes name = {entry->name, entry->name_size};
    return recent_has(recent, page->asking, entry->attr.ino) ||
           recent_has_name(recent, page->asking, vfs_inside(d->vfs, d->ino), name);
}

static enum rc give_dots(struct vfs_dir *d, uint64_t position, const struct dir_entry **out,
                         struct err *e)
{
    d->dot = (struct dir_entry){.name = "..", .name_size = (uint8_t)(position + 1)};
    d->dot.attr.type = NODE_DIRECTORY;
    d->dot.attr.ino = d->ino;
    if (position == 0)
        atime_read_ino(d->vfs, vfs_inside(d->vfs, d->ino));
    if (position == 1 && names_parent(d->vfs, d->ino, &d->dot.attr.ino, e))
        return e->code;
    *out = &d->dot;
    return RC_OK;
}

enum rc vfs_readdir(struct vfs_dir *d, uint64_t offset, bool with_attr,
                    const struct dir_entry **out, uint64_t *age_ms, uint64_t *next_offset,
                    struct err *e)
{
    *out = NULL;
    *age_ms = 0;
    *next_offset = offset + 1;
    if (offset < DOTS)
        return give_dots(d, offset, out, e);
    const struct page *page = page_with(d, offset);
    while (!page) {
        const struct page_mark *mark = mark_for(d, offset);
        enum rc rc = fetch_page(d, mark, with_attr, e);
        if (rc)
            return rc;
        page = page_with(d, offset);
    }
    if (offset - page->start >= page->count)
        return RC_OK;
    *out = &page->entries[offset - page->start];
    *age_ms = is_overtaken(d, page, *out) ? UINT64_MAX : clock_ms() - page->asked_ms;
    return RC_OK;
}
