#include "fs/upkeep/plan.h"

#include <string.h>

#include "fs/base/wire.h"

#define RECORD_BYTES 24
/* A record that stays has at least so many bytes, and a fifth of what is there. */
#define STAYS_BYTES ((uint32_t)1 << 20)
#define STAYS_SHARE 5

static struct slice_record record_at(struct bytes records, uint32_t i)
{
    const uint8_t *at = records.data + (size_t)i * RECORD_BYTES;
    return (struct slice_record){.pos = wire_u32(at),
                                 .id = wire_u64(at + 4),
                                 .size = wire_u32(at + 12),
                                 .off = wire_u32(at + 16),
                                 .len = wire_u32(at + 20)};
}

static struct bytes from_record(struct bytes records, uint32_t i)
{
    const size_t at = (size_t)i * RECORD_BYTES;
    return (struct bytes){records.data + at, records.size - at};
}

/* The part of the view between its outer holes. Where all is a hole, one byte stands for it. */
static void trim(struct plan *p)
{
    const struct chunk_view *v = p->view;
    uint32_t first = 0, end = v->extent_count;
    while (end > first + 1 && v->extents[first].id == 0)
        first++;
    while (end > first + 1 && v->extents[end - 1].id == 0)
        end--;
    p->first = first;
    p->count = end - first;
    p->pos = p->count ? v->extents[first].pos : 0;
    p->size = 0;
    for (uint32_t i = first; i < end; i++)
        p->size += v->extents[i].len;
    if (p->count == 1 && v->extents[first].id == 0)
        p->size = p->size ? 1 : 0;
}

/* Overlay the records from skipped on. */
static enum rc look(struct plan *p, uint32_t indx, struct bytes records, struct bytes sums,
                    uint32_t skipped, struct err *e)
{
    struct chunk_view *view = NULL;
    if (chunk_view_new(indx, from_record(records, skipped), sums, &view, e))
        return e->code;
    chunk_view_unref(&p->view);
    p->view = view;
    p->skipped = skipped;
    p->replaced = view->record_count;
    trim(p);
    return RC_OK;
}

/*
 * Is the first of the planned records worth staying? It must be whole and in front of everything,
 * so that no other of them touches its place, and must not come again: two equal records count as
 * two references.
 */
static bool first_stays(const struct plan *p, struct bytes records)
{
    if (p->replaced == 0 || p->count == 0 || p->size == 0)
        return false;
    const struct slice_record first = record_at(records, p->skipped);
    const struct extent *x = &p->view->extents[p->first];
    if (first.len < STAYS_BYTES || (uint64_t)first.len * STAYS_SHARE < p->size)
        return false;
    if (first.id == 0 || p->pos != first.pos || x->id != first.id || x->off != first.off ||
        x->len != first.len)
        return false;
    const uint8_t *own = from_record(records, p->skipped).data;
    for (uint32_t i = 1; i < p->replaced; i++)
        if (memcmp(own, own + (size_t)i * RECORD_BYTES, RECORD_BYTES) == 0)
            return false;
    return true;
}

enum rc plan_make(struct plan *out, uint32_t indx, struct bytes records, struct bytes sums,
                  struct err *e)
{
    *out = (struct plan){0};
    if (look(out, indx, records, sums, 0, e))
        return e->code;
    while (first_stays(out, records))
        if (look(out, indx, records, sums, out->skipped + 1, e))
            return e->code;
    return RC_OK;
}

void plan_deinit(struct plan *plan)
{
    chunk_view_unref(&plan->view);
}
