/*
 * table - rows of text in a frame, as JuiceFS's commands show lists, and numbers for people.
 *
 * Threads main
 */
#ifndef FS_CLI_TABLE_H
#define FS_CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/base/err.h"

struct table; /* rows of the same number of cells; the first one is the heading */

/* Free with table_close(). At most 16 columns. */
MUST_CHECK enum rc table_open(struct table **out, size_t columns, struct err *e);
void table_close(struct table **table);
#define auto_table __attribute__((cleanup(table_close)))

/* Add a row; the cells are copied. */
MUST_CHECK enum rc table_add(struct table *table, const char *const *cells, struct err *e);
void table_print(const struct table *table, FILE *to);
/* The same as CSV. */
void table_print_csv(const struct table *table, FILE *to);

#define HUMAN_BYTES 32

/* "0 B", "4.0 KiB", "1.5 GiB", "20 GiB". */
void human_size(char out[HUMAN_BYTES], uint64_t bytes);
/* "1,234,567". */
void human_count(char out[HUMAN_BYTES], uint64_t n);

#endif
