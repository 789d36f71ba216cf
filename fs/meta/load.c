#include "fs/meta/load.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/meta/meta_install.h"

#define CALL_MS         600000
#define FINISH_MS       UINT64_C(86400000)
#define BATCH_ROWS      1000
#define BATCH_BYTES     ((size_t)8 << 20)
#define NUMBERS_MOST    16
#define COLUMNS_MOST    2
#define PARAM_BYTES_MAX ((size_t)1 << 30)

/* Rows for one table: so many numbers for each, and so many byte strings. */
struct batch {
    const char *sql;
    unsigned number_count, column_count;
    size_t rows;
    int64_t *numbers;
    struct buf bytes; /* of all strings, one after another */
    size_t *sizes;    /* of each, in the order of bytes */
};

enum table { NODES, EDGES, CHUNKS, SYMLINKS, XATTRS, DELFILES, QUOTAS, TABLES };

static const struct batch tables[TABLES] = {
    [NODES] = {.sql = "SELECT pg_temp.load_nodes($1,$2,$3)", .number_count = 16, .column_count = 2},
    [EDGES] = {.sql = "SELECT pg_temp.load_edges($1,$2)", .number_count = 3, .column_count = 1},
    [CHUNKS] = {.sql = "SELECT pg_temp.load_chunks($1,$2)", .number_count = 2, .column_count = 1},
    [SYMLINKS] = {.sql = "SELECT pg_temp.load_symlinks($1,$2)",
                  .number_count = 1,
                  .column_count = 1},
    [XATTRS] = {.sql = "SELECT pg_temp.load_xattrs($1,$2,$3)",
                .number_count = 1,
                .column_count = 2},
    [DELFILES] = {.sql = "SELECT pg_temp.load_delfiles($1)", .number_count = 3, .column_count = 0},
    [QUOTAS] = {.sql = "SELECT pg_temp.load_quotas($1)", .number_count = 4, .column_count = 0},
};

static const struct bytes no_strings[COLUMNS_MOST] = {{NULL, 0}, {NULL, 0}};

struct load {
    struct pg *pg;
    bool is_open; /* the transaction */
    struct batch batches[TABLES];
};

static enum rc make_batch(struct batch *batch, enum table table, struct err *e)
{
    *batch = tables[table];
    buf_init(&batch->bytes, PARAM_BYTES_MAX);
    batch->numbers = calloc((size_t)BATCH_ROWS * batch->number_count, sizeof(*batch->numbers));
    batch->sizes = calloc((size_t)BATCH_ROWS * COLUMNS_MOST, sizeof(*batch->sizes));
    return batch->numbers && batch->sizes ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

static enum rc begin(struct load *load, struct err *e)
{
    auto_result struct pg_result *obstacle = NULL;
    auto_result struct pg_result *begun = NULL;
    const uint64_t until = clock_deadline(CALL_MS);
    if (pg_script(load->pg, "BEGIN", until, e))
        return e->code;
    load->is_open = true;
    if (meta_install_setup(load->pg, until, e) ||
        pg_call(load->pg, "SELECT pg_temp.load_obstacle() AS obstacle", NULL, 0, until, &obstacle,
                e))
        return e->code;
    const char *text = pg_get_text(obstacle, 0, pg_column(obstacle, "obstacle"));
    if (text)
        return err_fail(e, RC_EXISTS, "%s", text);
    if (meta_install_tables(load->pg, until, e))
        return e->code;
    return pg_call(load->pg, "SELECT pg_temp.load_begin()", NULL, 0, until, &begun, e);
}

enum rc load_open(struct load **out, struct pg *pg, struct err *e)
{
    struct load *load = calloc(1, sizeof(*load));
    if (!load)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    load->pg = pg;
    enum rc rc = RC_OK;
    for (int t = 0; t < TABLES && !rc; t++)
        rc = make_batch(&load->batches[t], (enum table)t, e);
    if (!rc)
        rc = begin(load, e);
    if (rc)
        load_close(&load);
    *out = load;
    return rc;
}

/* The strings of one column: every column_count-th of the batch. */
static enum rc column_param(const struct batch *batch, unsigned column, struct buf *scratch,
                            struct pg_param *out, struct err *e)
{
    struct bytes *strings = calloc(batch->rows, sizeof(*strings));
    if (!strings)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const uint8_t *at = batch->bytes.data;
    for (size_t i = 0; i < batch->rows * batch->column_count; i++) {
        if (i % batch->column_count == column)
            strings[i / batch->column_count] = (struct bytes){at, batch->sizes[i]};
        at += batch->sizes[i];
    }
    enum rc rc = pg_bytea_array(scratch, strings, batch->rows, out, e);
    free(strings);
    return rc;
}

static enum rc send_batch(struct load *load, struct batch *batch, struct err *e)
{
    auto_buf struct buf numbers, first, second;
    auto_result struct pg_result *answer = NULL;
    struct buf *scratch[COLUMNS_MOST] = {&first, &second};
    struct pg_param params[1 + COLUMNS_MOST] = {{0}};
    buf_init(&numbers, PARAM_BYTES_MAX);
    buf_init(&first, PARAM_BYTES_MAX);
    buf_init(&second, PARAM_BYTES_MAX);
    if (batch->rows == 0)
        return RC_OK;
    if (pg_int8_array(&numbers, batch->numbers, batch->rows * batch->number_count, &params[0], e))
        return e->code;
    assert(batch->column_count <= COLUMNS_MOST);
    for (unsigned c = 0; c < batch->column_count; c++)
        if (column_param(batch, c, scratch[c], &params[1 + c], e))
            return e->code;
    if (pg_call(load->pg, batch->sql, params, 1 + (int)batch->column_count, clock_deadline(CALL_MS),
                &answer, e))
        return e->code;
    batch->rows = 0;
    buf_clear(&batch->bytes);
    return RC_OK;
}

static enum rc add(struct load *load, enum table table, const int64_t *numbers,
                   const struct bytes *strings, struct err *e)
{
    struct batch *batch = &load->batches[table];
    if ((batch->rows == BATCH_ROWS || batch->bytes.size > BATCH_BYTES) &&
        send_batch(load, batch, e))
        return e->code;
    for (unsigned c = 0; c < batch->column_count; c++) {
        if (buf_add(&batch->bytes, strings[c].data, strings[c].size, e))
            return e->code;
        batch->sizes[batch->rows * batch->column_count + c] = strings[c].size;
    }
    memcpy(batch->numbers + batch->rows * batch->number_count, numbers,
           batch->number_count * sizeof(*numbers));
    batch->rows++;
    return RC_OK;
}

static int64_t us_of(struct timespec t)
{
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

enum rc load_node(struct load *load, const struct load_node *node, struct err *e)
{
    const struct node_attr *a = &node->attr;
    const int64_t numbers[NUMBERS_MOST] = {
        (int64_t)a->ino,
        a->type,
        a->flags,
        a->mode,
        a->uid,
        a->gid,
        us_of(a->atime),
        us_of(a->mtime),
        us_of(a->ctime),
        a->atime.tv_nsec % 1000,
        a->mtime.tv_nsec % 1000,
        a->ctime.tv_nsec % 1000,
        (int64_t)a->length,
        a->rdev,
        (int64_t)a->parent,
        a->tier,
    };
    return add(load, NODES, numbers, (struct bytes[]){node->access_acl, node->default_acl}, e);
}

enum rc load_edge(struct load *load, ino_num parent, struct bytes name, ino_num ino,
                  enum node_type type, struct err *e)
{
    return add(load, EDGES, (int64_t[]){(int64_t)parent, (int64_t)ino, type}, &name, e);
}

enum rc load_chunk(struct load *load, ino_num ino, uint32_t indx, struct bytes records,
                   struct err *e)
{
    return add(load, CHUNKS, (int64_t[]){(int64_t)ino, indx}, &records, e);
}

enum rc load_symlink(struct load *load, ino_num ino, struct bytes target, struct err *e)
{
    return add(load, SYMLINKS, (int64_t[]){(int64_t)ino}, &target, e);
}

enum rc load_xattr(struct load *load, ino_num ino, struct bytes name, struct bytes value,
                   struct err *e)
{
    return add(load, XATTRS, (int64_t[]){(int64_t)ino}, (struct bytes[]){name, value}, e);
}

enum rc load_delfile(struct load *load, ino_num ino, int64_t length, int64_t expire_s,
                     struct err *e)
{
    return add(load, DELFILES, (int64_t[]){(int64_t)ino, length, expire_s}, no_strings, e);
}

enum rc load_quota(struct load *load, int type, int64_t key, int64_t max_space, int64_t max_inodes,
                   struct err *e)
{
    return add(load, QUOTAS, (int64_t[]){type, key, max_space, max_inodes}, no_strings, e);
}

enum rc load_finish(struct load *load, const char *format, const char *counters, uint64_t *nodes,
                    struct err *e)
{
    auto_result struct pg_result *r = NULL;
    const struct pg_param params[] = {pg_text(format), pg_text(counters)};
    for (int t = 0; t < TABLES; t++)
        if (send_batch(load, &load->batches[t], e))
            return e->code;
    if (pg_call(load->pg, "SELECT * FROM pg_temp.load_finish($1,$2)", params, 2,
                clock_deadline(FINISH_MS), &r, e))
        return e->code;
    const char *problem = pg_get_text(r, 0, pg_column(r, "problem"));
    if (problem)
        return err_fail(e, RC_CORRUPT, "%s", problem);
    *nodes = (uint64_t)pg_get_int8(r, 0, pg_column(r, "nodes"));
    if (pg_script(load->pg, "COMMIT", clock_deadline(FINISH_MS), e))
        return e->code;
    load->is_open = false;
    return RC_OK;
}

void load_close(struct load **load)
{
    struct load *l = *load;
    struct err ignored = ERR_INIT;
    if (!l)
        return;
    if (l->is_open && pg_is_open(l->pg))
        (void)!pg_script(l->pg, "ROLLBACK", clock_deadline(CALL_MS), &ignored);
    for (int t = 0; t < TABLES; t++) {
        free(l->batches[t].numbers);
        free(l->batches[t].sizes);
        buf_deinit(&l->batches[t].bytes);
    }
    free(l);
    *load = NULL;
}
