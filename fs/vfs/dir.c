/*
 * Open directories. Entries come in pages by name, and positions are counted: 0 is ".", 1 is "..",
 * 2 the first entry. For each page the handle remembers the name before it, so that a position
 * seen earlier can be found again; the page before the current one stays in memory, because the
 * kernel asks again for the end of a reply that its caller had no room for. The page after it is
 * asked for while the kernel takes this one.
 */
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/clock.h"
#include "fs/vfs/atime.h"
#include "fs/vfs/dir_page.h"
#include "fs/vfs/inode.h"
#include "fs/vfs/names.h"

enum {
    DOTS = 2,
    PAGES_HELD = 2,
};

/*
 * Entries of the first page and of the others. Most directories are small, and the kernel takes one
 * page while the next is made, so pages are small where an exchange is quick; a far server is asked
 * seldom. 8192 are 3.3 MB: memory is bounded.
 */
static const uint32_t near_pages[] = {256, 4096}, far_pages[] = {4096, 8192};

/* Where a page begins. */
struct page_mark {
    uint64_t start;     /* position of its first entry */
    uint8_t *after;     /* the name before it */
    uint8_t after_size; /* 0: from the start of the directory */
};

struct vfs_dir {
    struct vfs *vfs;
    const uint32_t *page_counts;       /* the same throughout: marks are where such pages end */
    struct vfs_dir *next, **back;      /* of the vfs, under its table's lock */
    ino_num ino;                       /* as the kernel numbers it */
    struct dir_page pages[PAGES_HELD]; /* the first is the latest */
    struct ahead *ahead;               /* what comes after it; NULL: nobody asks for it */
    bool is_slow;                      /* a page ahead was too old when its turn came */
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
    d->page_counts = dir_page_is_far(vfs) ? far_pages : near_pages;
    add_to_list(d);
    *out = d;
    return RC_OK;
}

void vfs_releasedir(struct vfs_dir **dir)
{
    struct vfs_dir *d = *dir;
    if (!d)
        return;
    *dir = NULL;
    remove_from_list(d);
    ahead_drop(&d->ahead);
    for (int i = 0; i < PAGES_HELD; i++)
        dir_page_free(&d->pages[i]);
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
static enum rc add_mark(struct vfs_dir *d, const struct dir_page *page, struct err *e)
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

static struct dir_question question_at(const struct vfs_dir *d, const struct page_mark *mark,
                                       bool with_attr)
{
    return (struct dir_question){.ino = d->ino,
                                 .start = mark->start,
                                 .after = {mark->after, mark->after_size},
                                 .count = d->page_counts[mark->start != DOTS],
                                 .with_attr = with_attr};
}

/* Have the page after this one asked for already. */
static void ask_ahead(struct vfs_dir *d, const struct dir_page *page, bool with_attr)
{
    if (page->is_last || d->is_slow)
        return;
    const struct dir_question next =
        question_at(d, mark_for(d, page->start + page->count), with_attr);
    d->ahead = ahead_ask(d->vfs, &next);
}

/* The page ahead when it is this one, else one that is asked for now. */
static enum rc get_page(struct vfs_dir *d, const struct dir_question *question,
                        struct dir_page *out, struct err *e)
{
    const enum ahead_answer answer = ahead_take(&d->ahead, question, out, e);
    if (answer == AHEAD_TAKEN)
        return e->code;
    d->is_slow |= answer == AHEAD_OLD;
    return dir_page_ask(d->vfs, question, out, e);
}

static void page_cleanup(struct dir_page *page)
{
    dir_page_free(page);
}

static enum rc fetch_page(struct vfs_dir *d, const struct page_mark *mark, bool with_attr,
                          struct err *e)
{
    const struct dir_question question = question_at(d, mark, with_attr);
    __attribute__((cleanup(page_cleanup))) struct dir_page page = {0};
    enum rc rc = get_page(d, &question, &page, e);
    if (rc)
        return rc;
    if (!page.is_last && add_mark(d, &page, e))
        return e->code;
    dir_page_free(&d->pages[PAGES_HELD - 1]);
    memmove(&d->pages[1], &d->pages[0], (PAGES_HELD - 1) * sizeof(d->pages[0]));
    d->pages[0] = page;
    page = (struct dir_page){0};
    ask_ahead(d, &d->pages[0], with_attr);
    return RC_OK;
}

static const struct dir_page *page_with(const struct vfs_dir *d, uint64_t position)
{
    for (int i = 0; i < PAGES_HELD; i++) {
        const struct dir_page *page = &d->pages[i];
        if (page->entries && position >= page->start &&
            (position < page->start + page->count || page->is_last))
            return page;
    }
    return NULL;
}

/* Has this mount done something to the entry that the page does not know? */
static bool is_overtaken(const struct vfs_dir *d, const struct dir_page *page,
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
    const struct dir_page *page = page_with(d, offset);
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
