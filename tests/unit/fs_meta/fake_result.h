/*
 * fake_result - rows as PostgreSQL would answer them, made without a server.
 */
#ifndef TESTS_UNIT_FS_META_FAKE_RESULT_H
#define TESTS_UNIT_FS_META_FAKE_RESULT_H

#include "fs/base/buf.h"
#include "fs/meta/pg.h"

/* A result with one row of SQL NULLs in the named columns. Free it with pg_result_free(). */
struct pg_result *fake_result(const char *const *names, int count);
/* Give a column of the row its binary value. */
void fake_set(struct pg_result *result, const char *name, const void *value, size_t size);
void fake_set_int4(struct pg_result *result, const char *name, int32_t value);
void fake_set_int8(struct pg_result *result, const char *name, int64_t value);

#endif
