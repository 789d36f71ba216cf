/*
 *   step        when it is cut short here
 *   read        nothing has happened
 *   store       blocks that nothing names: gc
 *   commit      all or nothing; a lost answer is asked for again
 *   waste       a tombstone with no references: the hourly job removes its objects
 */
#include "fs/upkeep/compact.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/meta/file.h"
#include "fs/meta/upkeep.h"
#include "fs/upkeep/plan.h"

enum {
    BLOCK_PATIENCE_MS = 120000,
    /* A stock gc removes blocks without metadata after an hour. The commit asks the clock of the
     * database; this spares it the question. */
    COMMIT_WITHIN_MS = 45 * 60 * 1000,
    ROUNDS_MAX = 100,
    WASTED_MAX = 5,
};

METRIC_DEFINE(metric_done, METRIC_COUNTER, "tarn_compactions_total", NULL,
              "chunks compacted (one round each)")
METRIC_DEFINE(metric_wasted, METRIC_COUNTER, "tarn_compactions_wasted_total", NULL,
              "compactions whose chunk changed meanwhile")
METRIC_DEFINE(metric_bytes, METRIC_COUNTER, "tarn_compacted_bytes_total", NULL,
              "bytes of the slices that compaction has made")

/* One slice in the making. */
struct merge {
    struct volume *volume;
    const struct plan *plan;
    uint64_t id;
    uint32_t block_bytes;
    uint8_t *block;         /* the one that is being filled */
    uint8_t *piece;         /* the last block that was read, */
    struct block_id source; /* and which it is; slice 0: none */
    uint32_t *sums;
    uint32_t sums_count;
};

static void merge_deinit(struct merge *m)
{
    free(m->block);
    free(m->piece);
    free(m->sums);
}

static enum rc merge_init(struct merge *m, struct volume *volume, const struct plan *plan,
                          struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(volume);
    const uint32_t per_sum = meta_sum_bytes(block_bytes);
    *m = (struct merge){.volume = volume,
                        .plan = plan,
                        .block_bytes = block_bytes,
                        .sums_count = (plan->size + per_sum - 1) / per_sum};
    m->block = malloc(block_bytes);
    m->piece = malloc(block_bytes);
    m->sums = calloc(m->sums_count, sizeof(*m->sums));
    if (!m->block || !m->piece || !m->sums)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    return meta_new_slice_id(volume_meta(volume), &m->id, e);
}

/* ---- reading ---- */

/* Have block indx of an extent's slice in m->piece. */
static enum rc have_source(struct merge *m, const struct extent *x, uint32_t indx, struct err *e)
{
    const struct block_id id = {x->id, indx, block_size(x->size, m->block_bytes, indx)};
    if (m->source.slice == id.slice && m->source.indx == id.indx)
        return RC_OK;
    const struct block_sums sums =
        volume_block_sums(m->volume, chunk_view_sums(m->plan->view, x->id), indx);
    m->source = (struct block_id){0};
    enum rc rc =
        volume_get_block(m->volume, id, sums, m->piece, clock_deadline(BLOCK_PATIENCE_MS), e);
    if (!rc)
        m->source = id;
    return rc;
}

/* Copy [from, to) of the chunk, which lies in one extent, to at. */
static enum rc copy_extent(struct merge *m, const struct extent *x, uint32_t from, uint32_t to,
                           uint8_t *at, struct err *e)
{
    while (from < to) {
        const uint32_t in_slice = x->off + (from - x->pos);
        const uint32_t off = in_slice % m->block_bytes, room = m->block_bytes - off;
        const uint32_t n = to - from < room ? to - from : room;
        if (x->id == 0)
            memset(at, 0, n);
        else if (have_source(m, x, in_slice / m->block_bytes, e))
            return e->code;
        else
            memcpy(at, m->piece + off, n);
        from += n;
        at += n;
    }
    return RC_OK;
}

/* Fill m->block with size bytes of the chunk from pos. *next: the extent to go on with. */
static enum rc fill_block(struct merge *m, uint32_t pos, uint32_t size, uint32_t *next,
                          struct err *e)
{
    const struct extent *extents = m->plan->view->extents;
    const uint32_t end = pos + size;
    for (uint32_t at = pos; at < end;) {
        const struct extent *x = &extents[*next];
        const uint32_t x_end = x->pos + x->len, to = x_end < end ? x_end : end;
        if (copy_extent(m, x, at, to, m->block + (at - pos), e))
            return e->code;
        at = to;
        if (to == x_end)
            ++*next;
    }
    return RC_OK;
}

/* ---- storing ---- */

static enum rc store_blocks(struct merge *m, bool *has_stored, struct err *e)
{
    const uint32_t count = block_count(m->plan->size, m->block_bytes);
    const uint32_t per_block = m->block_bytes / meta_sum_bytes(m->block_bytes);
    uint32_t next = m->plan->first;
    for (uint32_t i = 0; i < count; i++) {
        const struct block_id id = {m->id, i, block_size(m->plan->size, m->block_bytes, i)};
        if (fill_block(m, m->plan->pos + i * m->block_bytes, id.size, &next, e))
            return e->code;
        volume_sum_block(m->volume, m->block, id.size, m->sums + (size_t)i * per_block);
        *has_stored = true; /* also of a failed one something may be there */
        if (volume_put_block(m->volume, id, m->block, clock_deadline(BLOCK_PATIENCE_MS), e))
            return e->code;
    }
    return RC_OK;
}

/* The new slice will not be used. Best effort: what is forgotten here, gc finds. */
static void waste(const struct merge *m)
{
    struct err e = ERR_INIT;
    metric_add(&metric_wasted, 1);
    if (meta_slice_wasted(volume_meta(m->volume), m->id, m->plan->size, &e))
        log_err(LOG_LEVEL_WARN, &e, "objects of a compaction are left for gc");
}

static enum rc commit(const struct merge *m, ino_num ino, uint32_t indx,
                      const struct meta_records *found, bool *is_done, struct err *e)
{
    const struct meta_compaction what = {
        .ino = ino,
        .indx = indx,
        .origin = buf_bytes(&found->records),
        .begun = found->begun,
        .skipped = m->plan->skipped,
        .pos = m->plan->pos,
        .size = m->plan->size,
        .id = m->id,
        .sums = m->sums,
        .sums_count = m->sums_count,
    };
    return meta_compact(volume_meta(m->volume), &what, is_done, e);
}

static enum rc merge_and_commit(struct merge *m, ino_num ino, uint32_t indx,
                                const struct meta_records *found, struct compact_result *out,
                                struct err *e)
{
    const uint64_t until = clock_deadline(COMMIT_WITHIN_MS);
    bool has_stored = false, is_done = false;
    enum rc rc = store_blocks(m, &has_stored, e);
    if (!rc && clock_left(until) == 0)
        rc = err_fail(e, RC_TIMEOUT, "storing %u bytes took too long", m->plan->size);
    if (rc) {
        if (has_stored)
            waste(m);
        return rc;
    }
    if (commit(m, ino, indx, found, &is_done, e))
        return e->code; /* its outcome is not known: nothing may be removed */
    metric_add(is_done ? &metric_done : &metric_wasted, 1);
    metric_add(&metric_bytes, is_done ? (int64_t)m->plan->size : 0);
    out->outcome = is_done ? COMPACT_DONE : COMPACT_WASTED;
    out->replaced = m->plan->replaced;
    out->size = m->plan->size;
    return RC_OK;
}

static enum rc compact(struct volume *volume, ino_num ino, uint32_t indx,
                       struct compact_result *out, struct err *e)
{
    auto_records struct meta_records found;
    auto_plan struct plan plan = {0};
    *out = (struct compact_result){.outcome = COMPACT_NOTHING};
    if (meta_chunk_records(volume_meta(volume), ino, indx, PLAN_RECORDS_MAX, &found, e) ||
        found.total < 2)
        return e->code;
    if (plan_make(&plan, indx, buf_bytes(&found.records), buf_bytes(&found.sums), e))
        return e->code;
    out->records = found.total;
    if (plan.replaced < 2 || plan.size == 0)
        return RC_OK;
    __attribute__((cleanup(merge_deinit))) struct merge m;
    if (merge_init(&m, volume, &plan, e))
        return e->code;
    return merge_and_commit(&m, ino, indx, &found, out, e);
}

enum rc compact_chunk(struct volume *volume, ino_num ino, uint32_t indx, struct compact_result *out,
                      struct err *e)
{
    if (compact(volume, ino, indx, out, e))
        return err_note(e, "could not compact chunk %u of inode %llu", indx,
                        (unsigned long long)ino);
    return RC_OK;
}

enum rc compact_whole_chunk(struct volume *volume, ino_num ino, uint32_t indx,
                            struct compact_result *out, struct err *e)
{
    unsigned wasted = 0;
    *out = (struct compact_result){.outcome = COMPACT_NOTHING};
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        struct compact_result one;
        if (compact_chunk(volume, ino, indx, &one, e))
            return e->code;
        if (round == 0)
            out->records = one.records;
        if (one.outcome == COMPACT_NOTHING)
            return RC_OK;
        if (one.outcome == COMPACT_WASTED && ++wasted == WASTED_MAX) {
            out->outcome = out->outcome == COMPACT_DONE ? COMPACT_DONE : COMPACT_WASTED;
            return RC_OK;
        }
        if (one.outcome == COMPACT_WASTED)
            continue;
        out->outcome = COMPACT_DONE;
        out->replaced += one.replaced;
        out->size += one.size;
    }
    return RC_OK;
}
