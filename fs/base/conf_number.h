/*
 * conf_number - what conf.c and conf_help.c share about numbers with units. Others use conf.h.
 *
 * Threads any · Blocking never
 */
#ifndef FS_BASE_CONF_NUMBER_H
#define FS_BASE_CONF_NUMBER_H

#include "fs/base/conf.h"

#define CONF_VALUE_BYTES 32

MUST_CHECK enum rc conf_parse_int(const char *text, int64_t *out, struct err *e);

/* Bytes of "MiB", milliseconds of "s"; 1 for NULL. 0: a table names a unit that there is not. */
int64_t conf_size_unit(const char *unit);
int64_t conf_duration_unit(const char *unit);

/* As a person would write it: "300M", "1m". */
void conf_print_value(char out[CONF_VALUE_BYTES], enum conf_type type, int64_t value);

#endif
