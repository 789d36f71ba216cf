#include "tests/unit/fs_meta/fake_result.h"

#include "fs/base/wire.h"
#include "fs/meta/pg_impl.h"
#include "tests/unit/check.h"

#define COLUMNS_MAX     32
#define VALUE_BYTES_MAX 4096

struct pg_result *fake_result(const char *const *names, int count)
{
    static char copies[COLUMNS_MAX][64];
    PGresAttDesc columns[COLUMNS_MAX] = {{.name = NULL}};
    CHECK(count <= COLUMNS_MAX);
    for (int i = 0; i < count; i++) {
        (void)snprintf(copies[i], sizeof(copies[i]), "%s", names[i]);
        columns[i].name = copies[i];
        columns[i].format = 1;
    }
    struct pg_result *result = malloc(sizeof(*result));
    CHECK(result != NULL);
    *result = (struct pg_result){.tuples = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK)};
    CHECK(PQsetResultAttrs(result->tuples, count, columns));
    for (int i = 0; i < count; i++)
        CHECK(PQsetvalue(result->tuples, 0, i, NULL, -1));
    return result;
}

void fake_set(struct pg_result *result, const char *name, const void *value, size_t size)
{
    char copy[VALUE_BYTES_MAX];
    CHECK(size <= sizeof(copy));
    memcpy(copy, value, size);
    CHECK(PQsetvalue(result->tuples, 0, pg_column(result, name), copy, (int)size));
}

void fake_set_int4(struct pg_result *result, const char *name, int32_t value)
{
    uint8_t at[4];
    wire_put_u32(at, (uint32_t)value);
    fake_set(result, name, at, sizeof(at));
}

void fake_set_int8(struct pg_result *result, const char *name, int64_t value)
{
    uint8_t at[8];
    wire_put_u64(at, (uint64_t)value);
    fake_set(result, name, at, sizeof(at));
}
