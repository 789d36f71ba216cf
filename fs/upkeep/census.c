#include "fs/upkeep/census.h"

#include "fs/base/wire.h"

#define RECORD_BYTES   24
#define RECORD_ID_AT   4
#define DELSLICE_BYTES 12
#define DELSLICE_ID_AT 0

size_t census_place(const int64_t *ids, size_t count, uint64_t id)
{
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if ((uint64_t)ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum rc count_id(const struct census *c, uint64_t id, struct err *e)
{
    if (id == 0 || id < c->first || id > c->last)
        return RC_OK;
    const size_t at = census_place(c->ids, c->count, id);
    if (at == c->count || (uint64_t)c->ids[at] != id)
        return c->stranger ? c->stranger(id, c->arg, e) : RC_OK;
    if (c->named[at] < UINT32_MAX)
        c->named[at]++;
    return RC_OK;
}

static enum rc count_packed(const struct census *c, struct bytes packed, size_t step, size_t id_at,
                            struct err *e)
{
    for (size_t at = 0; at + step <= packed.size; at += step)
        if (count_id(c, wire_u64(packed.data + at + id_at), e))
            return e->code;
    return RC_OK;
}

static const struct census *as_census(const void *arg)
{
    return arg;
}

static enum rc on_chunk(const struct ledger_chunk *chunk, void *arg, struct err *e)
{
    return count_packed(as_census(arg), chunk->records, RECORD_BYTES, RECORD_ID_AT, e);
}

static enum rc on_entries(struct bytes entries, void *arg, struct err *e)
{
    return count_packed(as_census(arg), entries, DELSLICE_BYTES, DELSLICE_ID_AT, e);
}

enum rc census_walk(const struct census *c, struct meta *meta, struct err *e)
{
    struct census mine = *c;
    bool is_end = false;
    for (int64_t after = 0; !is_end;)
        if (ledger_chunks(meta, NULL, 0, &after, &is_end, on_chunk, &mine, e))
            return e->code;
    is_end = false;
    for (uint64_t after = 0; !is_end;)
        if (ledger_delslices(meta, &after, &is_end, on_entries, &mine, e))
            return e->code;
    return RC_OK;
}
