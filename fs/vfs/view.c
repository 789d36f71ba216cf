#include "fs/vfs/view.h"

enum {
    FIRST_SLOTS = 4,
    MAX_SLOTS = 64,
};

void views_clear(struct views *v)
{
    while (v->count)
        chunk_view_unref(&v->slots[--v->count].view);
}

void views_deinit(struct views *v)
{
    views_clear(v);
    free(v->slots);
    *v = (struct views){0};
}

static struct view_slot *find(const struct views *v, uint32_t indx)
{
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->slots[i].indx == indx)
            return &v->slots[i];
    }
    return NULL;
}

bool views_find(const struct views *v, uint32_t indx, struct chunk_view **out)
{
    const struct view_slot *slot = find(v, indx);
    if (slot)
        *out = slot->view ? chunk_view_ref(slot->view) : NULL;
    return slot != NULL;
}

/* A slot to write into: a new one while there is room, else the next in turn. */
static struct view_slot *slot_for(struct views *v)
{
    if (v->count == v->capacity && v->capacity < MAX_SLOTS) {
        uint32_t capacity = v->capacity ? v->capacity * 4 : FIRST_SLOTS;
        struct view_slot *slots = realloc(v->slots, capacity * sizeof(*slots));
        if (slots) {
            v->slots = slots;
            v->capacity = capacity;
        }
    }
    if (v->count < v->capacity) {
        v->slots[v->count] = (struct view_slot){0};
        return &v->slots[v->count++];
    }
    return v->count ? &v->slots[v->victim++ % v->count] : NULL;
}

void views_put(struct views *v, uint32_t indx, struct chunk_view *view)
{
    struct view_slot *slot = find(v, indx);
    if (!slot)
        slot = slot_for(v);
    if (!slot)
        return;
    struct chunk_view *mine = view ? chunk_view_ref(view) : NULL;
    chunk_view_unref(&slot->view);
    *slot = (struct view_slot){.indx = indx, .view = mine};
}

bool views_offer(struct views *v, const struct chunk_view *view)
{
    struct view_slot *slot = find(v, view->indx);
    if (!slot || slot->view != view || slot->is_offered)
        return false;
    slot->is_offered = true;
    return true;
}

void views_drop(struct views *v, uint32_t indx)
{
    struct view_slot *slot = find(v, indx);
    if (!slot)
        return;
    chunk_view_unref(&slot->view);
    *slot = v->slots[--v->count];
}
