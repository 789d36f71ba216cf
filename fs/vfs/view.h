/*
 * view - the chunk views that one open inode has at hand, by chunk index.
 *
 * A bounded table: a file of a terabyte has 16 384 chunks, and a reader is in one of them.
 *
 * Threads   the inode's lock · Blocking never
 */
#ifndef FS_VFS_VIEW_H
#define FS_VFS_VIEW_H

#include "fs/meta/slice.h"

struct view_slot {
    uint32_t indx;
    struct chunk_view *view; /* NULL: the whole chunk is a hole */
    bool is_offered;         /* by views_offer() */
};

struct views {
    struct view_slot *slots;
    uint32_t count, capacity, victim;
};

void views_deinit(struct views *views);
void views_clear(struct views *views);
/* True when the chunk is known; *out is then a reference for the caller, or NULL for a hole. */
bool views_find(const struct views *views, uint32_t indx, struct chunk_view **out);
/* Remember a view (a reference of its own is taken), in place of an older one. Best effort. */
void views_put(struct views *views, uint32_t indx, struct chunk_view *view);
/* True the first time for this very view, if it is at hand. */
bool views_offer(struct views *views, const struct chunk_view *view);
void views_drop(struct views *views, uint32_t indx);

#endif
