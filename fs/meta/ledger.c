#include "fs/meta/ledger.h"

#include <stdio.h>

#include "fs/base/conf.h"
#include "fs/meta/retry.h"

#define CHUNK_ROWS    2000
#define DELSLICE_ROWS 500
#define ARRAY_BYTES   ((size_t)64 << 20)

static uint64_t number(const struct pg_result *r, const char *column)
{
    return (uint64_t)pg_get_int8(r, 0, pg_column(r, column));
}

/* A call without parameters that answers one row. */
static enum rc ask_one(struct meta *meta, const char *sql, struct pg_result **out, struct err *e)
{
    const struct call call = {sql, NULL, 0, true};
    if (retry_read(meta, &call, out, e))
        return e->code;
    return pg_rows(*out) == 1 ? RC_OK : err_fail(e, RC_CORRUPT, "no answer to \"%s\"", sql);
}

/* A function of slice ids. */
static enum rc ask_about(struct meta *meta, const char *sql, const int64_t *ids, size_t count,
                         struct pg_result **out, struct err *e)
{
    auto_buf struct buf array;
    buf_init(&array, ARRAY_BYTES);
    struct pg_param params[1];
    return pg_int8_array(&array, ids, count, &params[0], e)
               ? e->code
               : retry_read(meta, CALL_LONG(sql, params), out, e);
}

enum rc ledger_begin(struct meta *meta, struct ledger_start *out, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_one(meta, "SELECT * FROM tarn_1.gc_begin()", &r, e))
        return e->code;
    *out =
        (struct ledger_start){number(r, "next_chunk"), number(r, "sessions"), number(r, "mirrors")};
    return RC_OK;
}

enum rc ledger_epoch(struct meta *meta, struct ledger_epoch *out, struct err *e)
{
    const struct call call = {"SELECT * FROM tarn_1.epoch()", NULL, 0, true};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, &call, &r, e))
        return e->code;
    if (pg_rows(r) != 1) {
        err_fail(e, RC_INVALID, "this database is not a primary");
        return err_exits(e, EXIT_NOT_READY);
    }
    *out = (struct ledger_epoch){
        .epoch = pg_get_int8(r, 0, pg_column(r, "epoch")),
        .timeline = pg_get_int8(r, 0, pg_column(r, "timeline")),
        .next_chunk = pg_get_int8(r, 0, pg_column(r, "next_chunk")),
    };
    (void)snprintf(out->system_identifier, sizeof(out->system_identifier), "%s",
                   pg_get_text(r, 0, pg_column(r, "system_identifier")));
    return RC_OK;
}

enum rc ledger_waiting(struct meta *meta, struct ledger_waiting *out, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_one(meta, "SELECT * FROM tarn_1.gc_waiting()", &r, e))
        return e->code;
    *out = (struct ledger_waiting){
        .delfiles = number(r, "delfiles"),
        .delfile_bytes = number(r, "delfile_bytes"),
        .delslices = number(r, "delslices"),
        .delslice_bytes = number(r, "delslice_bytes"),
        .pending = number(r, "pending"),
        .pending_bytes = number(r, "pending_bytes"),
        .detached = number(r, "detached"),
        .trash = number(r, "trash"),
    };
    return RC_OK;
}

/* sums: whether the answer has that column. */
static enum rc visit_slices(const struct pg_result *r, bool sums, ledger_slice_visit visit,
                            void *arg, struct err *e)
{
    const int id = pg_column(r, "slice"), size = pg_column(r, "size"), refs = pg_column(r, "refs");
    const int packed = sums ? pg_column(r, "sums") : -1;
    for (int row = 0; row < pg_rows(r); row++) {
        const struct ledger_slice slice = {
            .id = (uint64_t)pg_get_int8(r, row, id),
            .size = (uint32_t)pg_get_int4(r, row, size),
            .refs = pg_get_int4(r, row, refs),
            .sums = sums ? pg_get_bytes(r, row, packed) : (struct bytes){NULL, 0},
        };
        if (visit(&slice, arg, e))
            return e->code;
    }
    return RC_OK;
}

enum rc ledger_find(struct meta *meta, const int64_t *ids, size_t count, ledger_slice_visit visit,
                    void *arg, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_about(meta, "SELECT * FROM tarn_1.gc_slices($1)", ids, count, &r, e))
        return e->code;
    return visit_slices(r, false, visit, arg, e);
}

enum rc ledger_slices(struct meta *meta, const struct ledger_range *range, ledger_slice_visit visit,
                      void *arg, uint32_t *count, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)range->after), pg_int8((int64_t)range->before),
                                pg_int4((int32_t)range->limit), pg_bool(range->with_sums)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.check_slices($1,$2,$3,$4)", params), &r,
                   e))
        return e->code;
    *count = (uint32_t)pg_rows(r);
    return visit_slices(r, range->with_sums, visit, arg, e);
}

/* The ids as a parameter; NULL: all, which is SQL's NULL. */
static enum rc only_these(struct buf *scratch, const int64_t *ids, size_t count,
                          struct pg_param *out, struct err *e)
{
    if (pg_int8_array(scratch, ids, ids ? count : 0, out, e))
        return e->code;
    if (!ids)
        *out = pg_null(out->oid);
    return RC_OK;
}

enum rc ledger_chunks(struct meta *meta, const int64_t *only, size_t only_count, int64_t *after,
                      bool *is_end, ledger_chunk_visit visit, void *arg, struct err *e)
{
    auto_buf struct buf array;
    buf_init(&array, ARRAY_BYTES);
    struct pg_param params[] = {pg_int8(*after), pg_int4(CHUNK_ROWS), {0}};
    auto_result struct pg_result *r = NULL;
    if (only_these(&array, only, only_count, &params[2], e) ||
        retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.check_chunks($1,$2,$3)", params), &r, e))
        return e->code;
    const int id = pg_column(r, "id"), ino = pg_column(r, "inode"), indx = pg_column(r, "indx");
    const int records = pg_column(r, "slices"), node = pg_column(r, "has_node");
    const int deleted = pg_column(r, "is_deleted");
    for (int row = 0; row < pg_rows(r); row++) {
        const struct ledger_chunk chunk = {
            .id = pg_get_int8(r, row, id),
            .ino = (ino_num)pg_get_int8(r, row, ino),
            .indx = pg_get_int4(r, row, indx),
            .records = pg_get_bytes(r, row, records),
            .has_node = pg_get_bool(r, row, node),
            .is_deleted = pg_get_bool(r, row, deleted),
        };
        if (visit(&chunk, arg, e))
            return e->code;
        *after = chunk.id;
    }
    *is_end = pg_rows(r) < CHUNK_ROWS;
    return RC_OK;
}

enum rc ledger_delslices(struct meta *meta, uint64_t *after, bool *is_end,
                         ledger_packed_visit visit, void *arg, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)*after), pg_int4(DELSLICE_ROWS)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.gc_delslices($1,$2)", params), &r, e))
        return e->code;
    const int id = pg_column(r, "id"), packed = pg_column(r, "slices");
    for (int row = 0; row < pg_rows(r); row++) {
        if (visit(pg_get_bytes(r, row, packed), arg, e))
            return e->code;
        *after = (uint64_t)pg_get_int8(r, row, id);
    }
    *is_end = pg_rows(r) < DELSLICE_ROWS;
    return RC_OK;
}

enum rc ledger_count_refs(struct meta *meta, const int64_t *ids, size_t count,
                          ledger_count_visit visit, void *arg, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_about(meta, "SELECT * FROM tarn_1.count_refs($1)", ids, count, &r, e))
        return e->code;
    const int id = pg_column(r, "slice"), size = pg_column(r, "size"), refs = pg_column(r, "refs");
    const int named = pg_column(r, "named"), named_size = pg_column(r, "named_size");
    for (int row = 0; row < pg_rows(r); row++) {
        const struct ledger_count c = {
            .id = (uint64_t)pg_get_int8(r, row, id),
            .has_row = !pg_is_null(r, row, refs),
            .size = (uint32_t)pg_get_int4(r, row, size),
            .named_size = (uint32_t)pg_get_int4(r, row, named_size),
            .refs = pg_get_int4(r, row, refs),
            .named = pg_get_int8(r, row, named),
        };
        if (visit(&c, arg, e))
            return e->code;
    }
    return RC_OK;
}

enum rc ledger_repair_refs(struct meta *meta, const int64_t *ids, size_t count, bool *done,
                           struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_about(meta, "SELECT * FROM tarn_1.repair_refs($1)", ids, count, &r, e))
        return e->code;
    *done = pg_rows(r) == 1 && pg_get_bool(r, 0, pg_column(r, "done"));
    return RC_OK;
}

enum rc ledger_add_sums(struct meta *meta, uint64_t slice, uint32_t size, struct bytes sums,
                        struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)slice), pg_int4((int32_t)size), pg_bytea(sums)};
    auto_result struct pg_result *r = NULL;
    return retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.repair_sums($1,$2,$3)", params), &r, e);
}

enum rc ledger_position(struct meta *meta, char out[LEDGER_POSITION_BYTES], struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (ask_one(meta, "SELECT * FROM tarn_1.gc_position()", &r, e))
        return e->code;
    (void)snprintf(out, LEDGER_POSITION_BYTES, "%s", pg_get_text(r, 0, pg_column(r, "lsn")));
    return RC_OK;
}

enum rc ledger_mirrors_behind(struct meta *meta, const char *position, uint64_t *count,
                              char first[64], struct err *e)
{
    struct pg_param params[] = {pg_text(position)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.gc_mirrors_behind($1)", params), &r, e))
        return e->code;
    *count = (uint64_t)pg_rows(r);
    if (*count > 0)
        (void)snprintf(first, 64, "%s", pg_get_text(r, 0, pg_column(r, "site")));
    return RC_OK;
}
