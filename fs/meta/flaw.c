#include "fs/meta/flaw.h"

#include <stdio.h>
#include <string.h>

#include "fs/meta/retry.h"

#define PAGE_ROWS      1000
#define FILL_ROWS      1000
#define KEYS_BYTES_MAX ((size_t)16 << 20)

static const struct check {
    const char *sql;
    bool is_by_row; /* its keys are ids of rows, not inodes */
    bool is_lazy;
} checks[FLAW_CHECKS] = {
    [FLAW_EDGES] = {"SELECT * FROM tarn_1.check_edges($1,$2,$3)", true, false},
    [FLAW_CYCLES] = {"SELECT * FROM tarn_1.check_cycles($1,$2,$3)", false, false},
    [FLAW_NODES] = {"SELECT * FROM tarn_1.check_nodes($1,$2,$3)", false, false},
    [FLAW_XATTRS] = {"SELECT * FROM tarn_1.check_xattrs($1,$2,$3)", true, false},
    [FLAW_SYMLINKS] = {"SELECT * FROM tarn_1.check_symlinks($1,$2,$3)", false, false},
    [FLAW_STATS] = {"SELECT * FROM tarn_1.check_stats($1,$2,$3)", false, true},
    [FLAW_QUOTAS] = {"SELECT * FROM tarn_1.check_quotas($1,$2,$3)", false, true},
    [FLAW_USAGE] = {"SELECT * FROM tarn_1.check_usage($1,$2,$3)", false, true},
};

/* What the parameters of a repair are, in order: i inode, k key, h have, w want. */
static const struct repair {
    const char *kind, *sql, *parameters;
} repairs[] = {
    {"entry", "SELECT * FROM tarn_1.repair_entry($1,$2)", "ik"},
    {"type", "SELECT * FROM tarn_1.repair_type($1,$2)", "ik"},
    {"lost", "SELECT * FROM tarn_1.repair_place($1,$2)", "ik"},
    {"cycle", "SELECT * FROM tarn_1.repair_place($1,$2)", "ik"},
    {"orphan", "SELECT * FROM tarn_1.repair_place($1,$2)", "ik"},
    {"names", "SELECT * FROM tarn_1.repair_names($1)", "i"},
    {"nlink", "SELECT * FROM tarn_1.repair_node($1)", "i"},
    {"parent", "SELECT * FROM tarn_1.repair_node($1)", "i"},
    {"acl", "SELECT * FROM tarn_1.repair_node($1)", "i"},
    {"xattr", "SELECT * FROM tarn_1.repair_xattr($1,$2)", "ik"},
    {"symlink", "SELECT * FROM tarn_1.repair_symlink($1)", "i"},
    {"stats", "SELECT * FROM tarn_1.repair_stats($1,$2,$3,$4)", "ikhw"},
    {"quota", "SELECT * FROM tarn_1.repair_quota($1,$2,$3,$4)", "ikhw"},
    {"usage", "SELECT * FROM tarn_1.repair_usage($1,$2,$3)", "khw"},
};

int64_t flaw_key(const struct flaw *flaw)
{
    return checks[flaw->check].is_by_row ? flaw->key : (int64_t)flaw->ino;
}

bool flaw_is_lazy(enum flaw_check check)
{
    return checks[check].is_lazy;
}

static void copy_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from ? from : "");
}

/* Rows in order; the last one says where the next page begins. */
static enum rc visit_rows(const struct pg_result *r, enum flaw_check check, int64_t *after,
                          bool *is_end, flaw_visit visit, void *arg, struct err *e)
{
    const int kind = pg_column(r, "kind"), ino = pg_column(r, "ino"), key = pg_column(r, "key");
    const int have = pg_column(r, "have"), want = pg_column(r, "want");
    const int detail = pg_column(r, "detail"), last = pg_rows(r) - 1;
    const int stamp = checks[check].is_lazy ? pg_column(r, "stamp") : -1;
    for (int row = 0; row < last; row++) {
        struct flaw flaw = {
            .check = check,
            .ino = (ino_num)pg_get_int8(r, row, ino),
            .key = pg_get_int8(r, row, key),
            .have = pg_get_int8(r, row, have),
            .want = pg_get_int8(r, row, want),
            .stamp = stamp >= 0 ? pg_get_int8(r, row, stamp) : 0,
        };
        copy_text(flaw.kind, sizeof(flaw.kind), pg_get_text(r, row, kind));
        copy_text(flaw.detail, sizeof(flaw.detail), pg_get_text(r, row, detail));
        if (visit(&flaw, arg, e))
            return e->code;
    }
    if (last < 0 || strcmp(pg_get_text(r, last, kind), "next") != 0)
        return err_fail(e, RC_CORRUPT, "a check answered without its last row");
    *is_end = pg_is_null(r, last, key);
    *after = pg_get_int8(r, last, key);
    return RC_OK;
}

enum rc flaw_page(struct meta *meta, enum flaw_check check, const int64_t *only, size_t only_count,
                  int64_t *after, bool *is_end, flaw_visit visit, void *arg, struct err *e)
{
    auto_buf struct buf array;
    buf_init(&array, KEYS_BYTES_MAX);
    struct pg_param params[] = {pg_int8(*after), pg_int4(PAGE_ROWS), {0}};
    if (pg_int8_array(&array, only, only ? only_count : 0, &params[2], e))
        return e->code;
    if (!only)
        params[2] = pg_null(params[2].oid);
    const struct call call = {checks[check].sql, params, 3, true};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, &call, &r, e))
        return e->code;
    return visit_rows(r, check, after, is_end, visit, arg, e);
}

static struct pg_param parameter(const struct flaw *flaw, char letter)
{
    switch (letter) {
    case 'i':
        return pg_int8((int64_t)flaw->ino);
    case 'k':
        return pg_int8(flaw->key);
    case 'h':
        return pg_int8(flaw->have);
    default:
        return pg_int8(flaw->want);
    }
}

static const struct repair *repair_of(const struct flaw *flaw)
{
    for (size_t i = 0; i < sizeof(repairs) / sizeof(repairs[0]); i++)
        if (strcmp(repairs[i].kind, flaw->kind) == 0)
            return &repairs[i];
    return NULL;
}

enum rc flaw_repair(struct meta *meta, const struct flaw *flaw, bool *done, struct err *e)
{
    *done = false;
    const struct repair *repair = repair_of(flaw);
    if (!repair)
        return RC_OK;
    struct pg_param params[4];
    const int count = (int)strlen(repair->parameters);
    for (int i = 0; i < count; i++)
        params[i] = parameter(flaw, repair->parameters[i]);
    const struct call call = {repair->sql, params, count, true};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, &call, &r, e))
        return e->code;
    *done = pg_rows(r) == 1 && pg_get_bool(r, 0, pg_column(r, "done"));
    return RC_OK;
}

enum rc flaw_fill_stats(struct meta *meta, int64_t *after, bool *is_end, uint64_t *filled,
                        struct err *e)
{
    struct pg_param params[] = {pg_int8(*after), pg_int4(FILL_ROWS)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.fill_stats($1,$2)", params), &r, e))
        return e->code;
    const int last = pg_column(r, "last");
    *is_end = pg_rows(r) != 1 || pg_is_null(r, 0, last);
    *after = pg_get_int8(r, 0, last);
    *filled += (uint64_t)pg_get_int8(r, 0, pg_column(r, "filled"));
    return RC_OK;
}

enum rc flaw_children(struct meta *meta, ino_num dir, struct bytes after, uint32_t limit,
                      flaw_child_visit visit, void *arg, uint32_t *count, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)dir), pg_bytea(after), pg_int4((int32_t)limit)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.check_children($1,$2,$3)", params), &r, e))
        return e->code;
    const int id = pg_column(r, "id"), ino = pg_column(r, "ino"), type = pg_column(r, "type");
    const int name = pg_column(r, "name");
    *count = (uint32_t)pg_rows(r);
    for (int row = 0; row < pg_rows(r); row++) {
        const struct flaw_child child = {
            .edge = pg_get_int8(r, row, id),
            .ino = (ino_num)pg_get_int8(r, row, ino),
            .is_dir = pg_get_int4(r, row, type) == NODE_DIRECTORY,
            .name = pg_get_bytes(r, row, name),
        };
        if (visit(&child, arg, e))
            return e->code;
    }
    return RC_OK;
}
