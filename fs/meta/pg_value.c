#include <assert.h>
#include <limits.h>
#include <string.h>

#include "fs/base/wire.h"
#include "fs/meta/pg_impl.h"

/* Type numbers of pg_type, fixed for ever. */
enum pg_oid {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_BYTEA_ARRAY = 1001,
    OID_INT4_ARRAY = 1007,
    OID_INT8_ARRAY = 1016,
};

#define ARRAY_HEADER_BYTES 20

const uint8_t pg_in_small[1];

struct pg_param pg_int4(int32_t v)
{
    struct pg_param p = {.oid = OID_INT4, .data = pg_in_small, .size = 4};
    wire_put_u32(p.small, (uint32_t)v);
    return p;
}

struct pg_param pg_int8(int64_t v)
{
    struct pg_param p = {.oid = OID_INT8, .data = pg_in_small, .size = 8};
    wire_put_u64(p.small, (uint64_t)v);
    return p;
}

struct pg_param pg_bool(bool v)
{
    return (struct pg_param){.oid = OID_BOOL, .data = pg_in_small, .size = 1, .small = {v}};
}

struct pg_param pg_text(const char *v)
{
    return (struct pg_param){.oid = OID_TEXT, .data = v, .size = v ? (int)strlen(v) : 0};
}

struct pg_param pg_bytea(struct bytes v)
{
    assert(v.size <= INT_MAX);
    const void *data = v.data ? (const void *)v.data : ""; /* empty is not NULL */
    return (struct pg_param){.oid = OID_BYTEA, .data = data, .size = (int)v.size};
}

struct pg_param pg_null(uint32_t oid)
{
    return (struct pg_param){.oid = oid};
}

/* Layout: dimensions, has-nulls, element type, then length and lower bound of dimension 1. */
static enum rc put_array_header(struct buf *scratch, uint32_t element_oid, size_t n, struct err *e)
{
    uint8_t header[ARRAY_HEADER_BYTES] = {0};
    wire_put_u32(header, n ? 1 : 0);
    wire_put_u32(header + 8, element_oid);
    wire_put_u32(header + 12, (uint32_t)n);
    wire_put_u32(header + 16, 1);
    return buf_add(scratch, header, n ? sizeof(header) : 12, e);
}

static enum rc put_element(struct buf *scratch, const void *data, size_t size, struct err *e)
{
    uint8_t length[4];
    wire_put_u32(length, (uint32_t)size);
    if (buf_add(scratch, length, sizeof(length), e))
        return e->code;
    return buf_add(scratch, data, size, e);
}

static struct pg_param array_param(uint32_t oid, const struct buf *scratch)
{
    assert(scratch->size <= INT_MAX);
    return (struct pg_param){.oid = oid, .data = scratch->data, .size = (int)scratch->size};
}

enum rc pg_int4_array(struct buf *scratch, const int32_t *v, size_t n, struct pg_param *out,
                      struct err *e)
{
    buf_clear(scratch);
    if (put_array_header(scratch, OID_INT4, n, e))
        return e->code;
    for (size_t i = 0; i < n; i++) {
        uint8_t element[4];
        wire_put_u32(element, (uint32_t)v[i]);
        if (put_element(scratch, element, sizeof(element), e))
            return e->code;
    }
    *out = array_param(OID_INT4_ARRAY, scratch);
    return RC_OK;
}

enum rc pg_int8_array(struct buf *scratch, const int64_t *v, size_t n, struct pg_param *out,
                      struct err *e)
{
    buf_clear(scratch);
    if (put_array_header(scratch, OID_INT8, n, e))
        return e->code;
    for (size_t i = 0; i < n; i++) {
        uint8_t element[8];
        wire_put_u64(element, (uint64_t)v[i]);
        if (put_element(scratch, element, sizeof(element), e))
            return e->code;
    }
    *out = array_param(OID_INT8_ARRAY, scratch);
    return RC_OK;
}

enum rc pg_bytea_array(struct buf *scratch, const struct bytes *v, size_t n, struct pg_param *out,
                       struct err *e)
{
    buf_clear(scratch);
    if (put_array_header(scratch, OID_BYTEA, n, e))
        return e->code;
    for (size_t i = 0; i < n; i++)
        if (put_element(scratch, v[i].data, v[i].size, e))
            return e->code;
    *out = array_param(OID_BYTEA_ARRAY, scratch);
    return RC_OK;
}

void pg_result_free(struct pg_result **result)
{
    if (!*result)
        return;
    PQclear((*result)->tuples);
    free(*result);
    *result = NULL;
}

int pg_rows(const struct pg_result *result)
{
    return result->is_hidden ? 0 : PQntuples(result->tuples);
}

void pg_hide_rows(struct pg_result *result)
{
    result->is_hidden = true;
}

int pg_column(const struct pg_result *result, const char *name)
{
    /* Not PQfnumber(): it folds case in a fresh copy of the name at every call. */
    for (int i = 0; i < PQnfields(result->tuples); i++)
        if (strcmp(PQfname(result->tuples, i), name) == 0)
            return i;
    return -1;
}

bool pg_is_null(const struct pg_result *result, int row, int column)
{
    return column < 0 || PQgetisnull(result->tuples, row, column);
}

/* The value if it is size bytes wide; NULL for SQL NULL or, by our own mistake, another width. */
static const uint8_t *fixed(const struct pg_result *result, int row, int column, int size)
{
    if (pg_is_null(result, row, column))
        return NULL;
    bool fits = PQgetlength(result->tuples, row, column) == size;
    assert(fits);
    return fits ? (const uint8_t *)PQgetvalue(result->tuples, row, column) : NULL;
}

int32_t pg_get_int4(const struct pg_result *result, int row, int column)
{
    const uint8_t *at = fixed(result, row, column, 4);
    return at ? (int32_t)wire_u32(at) : 0;
}

int64_t pg_get_int8(const struct pg_result *result, int row, int column)
{
    const uint8_t *at = fixed(result, row, column, 8);
    return at ? (int64_t)wire_u64(at) : 0;
}

bool pg_get_bool(const struct pg_result *result, int row, int column)
{
    const uint8_t *at = fixed(result, row, column, 1);
    return at && at[0];
}

struct bytes pg_get_bytes(const struct pg_result *result, int row, int column)
{
    if (pg_is_null(result, row, column))
        return (struct bytes){NULL, 0};
    return (struct bytes){(const uint8_t *)PQgetvalue(result->tuples, row, column),
                          (size_t)PQgetlength(result->tuples, row, column)};
}

const char *pg_get_text(const struct pg_result *result, int row, int column)
{
    return pg_is_null(result, row, column) ? NULL : PQgetvalue(result->tuples, row, column);
}

enum rc pg_get_int8_array(const struct pg_result *result, int row, int column, int64_t **out,
                          size_t *count, struct err *e)
{
    *out = NULL;
    *count = 0;
    struct wire_reader r = wire_reader(pg_get_bytes(result, row, column));
    if (r.left == 0)
        return RC_OK;
    uint32_t dimensions = wire_read_u32(&r);
    (void)wire_read_u32(&r); /* has nulls: a null element shows by its length below */
    uint32_t element_oid = wire_read_u32(&r);
    if (dimensions == 0 && !r.is_short)
        return RC_OK;
    uint32_t n = wire_read_u32(&r);
    (void)wire_read_u32(&r); /* lower bound */
    if (r.is_short || dimensions != 1 || element_oid != OID_INT8 || r.left != (size_t)n * 12)
        return err_fail(e, RC_CORRUPT, "an answer of PostgreSQL holds a malformed array");

    int64_t *values = malloc((size_t)n * sizeof(*values));
    if (!values)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        if (wire_read_u32(&r) != 8) {
            free(values);
            return err_fail(e, RC_CORRUPT, "an answer of PostgreSQL holds a malformed array");
        }
        values[i] = (int64_t)wire_read_u64(&r);
    }
    *out = values;
    *count = n;
    return RC_OK;
}
