/*
 * dir_page - pages of a directory: asked for when needed, or one ahead by a worker.
 *
 * While the kernel takes one page, the database can be at the next. A page that was asked for ahead
 * belongs to the handle and to the worker; who lets go of it last frees it, so that closing a
 * directory waits for nobody.
 *
 *   state    next                   who
 *   queued   asking, or dropped     the worker begins; the handle asks by itself instead of waiting
 *   asking   landed                 the handle may wait
 *   landed   —                      page or error is the handle's
 *
 * Threads   dir_page_ask() any; an ahead has one owner besides its worker
 * Blocking  dir_page_ask() and ahead_take() for an exchange; the rest never
 */
#ifndef FS_VFS_DIR_PAGE_H
#define FS_VFS_DIR_PAGE_H

#include "fs/vfs/state.h"

struct dir_page {
    uint64_t start;            /* position of its first entry */
    uint64_t asked_ms, asking; /* when it was asked for, and what was known then */
    uint32_t count;
    bool is_last;
    struct dir_entry *entries; /* NULL: no page */
};

struct dir_question {
    ino_num ino;        /* as the kernel numbers it */
    uint64_t start;     /* position of the first entry wanted */
    struct bytes after; /* the name before it; empty: from the start of the directory */
    uint32_t count;     /* entries at most */
    bool with_attr;
};

/* *out is the caller's until dir_page_free(). */
MUST_CHECK enum rc dir_page_ask(struct vfs *vfs, const struct dir_question *question,
                                struct dir_page *out, struct err *e);
void dir_page_free(struct dir_page *page);
/* Is the database so far away that no page of any directory came quickly? False before the first.
 */
bool dir_page_is_far(const struct vfs *vfs);

struct ahead;

/* Have a worker ask. NULL when none has time: then the page is asked for when it is needed. */
struct ahead *ahead_ask(struct vfs *vfs, const struct dir_question *question);
enum ahead_answer {
    AHEAD_NONE, /* no answer to this question: the caller asks */
    AHEAD_OLD,  /* it lay here for too long: the caller asks, and need not ask ahead again */
    AHEAD_TAKEN /* *out is the page, or *e why the exchange that was waited for failed */
};
/*
 * The page ahead; waits for one that is on its way. A failure that nobody waited for is not
 * reported. *ahead is let go of in any case.
 */
MUST_CHECK enum ahead_answer ahead_take(struct ahead **ahead, const struct dir_question *question,
                                        struct dir_page *out, struct err *e);
/* Let go of it. Sets *ahead to NULL; NULL is ignored. */
void ahead_drop(struct ahead **ahead);

#endif
