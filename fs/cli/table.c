#include "fs/cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16

struct table {
    size_t columns, cells, room;
    char **cell; /* row by row */
};

enum rc table_open(struct table **out, size_t columns, struct err *e)
{
    assert(columns <= COLUMNS_MAX);
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    t->columns = columns;
    *out = t;
    return RC_OK;
}

void table_close(struct table **table)
{
    if (!*table)
        return;
    for (size_t i = 0; i < (*table)->cells; i++)
        free((*table)->cell[i]);
    free((*table)->cell);
    free(*table);
    *table = NULL;
}

static enum rc make_room(struct table *t, struct err *e)
{
    if (t->cells + t->columns <= t->room)
        return RC_OK;
    const size_t room = 2 * t->room + 16 * t->columns;
    char **cell = reallocarray(t->cell, room, sizeof(*cell));
    if (!cell)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    t->cell = cell;
    t->room = room;
    return RC_OK;
}

enum rc table_add(struct table *t, const char *const *cells, struct err *e)
{
    if (make_room(t, e))
        return e->code;
    for (size_t i = 0; i < t->columns; i++) {
        char *copy = strdup(cells[i]);
        if (!copy)
            return err_fail(e, RC_NO_SPACE, "out of memory");
        t->cell[t->cells++] = copy;
    }
    return RC_OK;
}

static int width_of(const struct table *t, size_t column)
{
    size_t widest = 0;
    for (size_t at = column; at < t->cells; at += t->columns)
        if (strlen(t->cell[at]) > widest)
            widest = strlen(t->cell[at]);
    return (int)widest;
}

static void print_rule(const struct table *t, const int *widths, FILE *to)
{
    for (size_t i = 0; i < t->columns; i++) {
        fputc('+', to);
        for (int n = widths[i] + 2; n > 0; n--)
            fputc('-', to);
    }
    fputs("+\n", to);
}

/* Headings stand in the middle, the first column left, the rest right. */
static void print_cell(const char *text, int width, bool is_heading, bool is_first, FILE *to)
{
    const int spare = width - (int)strlen(text);
    const int left = is_heading ? spare / 2 : is_first ? 0 : spare;
    fprintf(to, "| %*s%s%*s ", left, "", text, spare - left, "");
}

void table_print(const struct table *t, FILE *to)
{
    int widths[COLUMNS_MAX];
    for (size_t i = 0; i < t->columns; i++)
        widths[i] = width_of(t, i);
    print_rule(t, widths, to);
    for (size_t at = 0; at + t->columns <= t->cells; at += t->columns) {
        for (size_t i = 0; i < t->columns; i++)
            print_cell(t->cell[at + i], widths[i], at == 0, i == 0, to);
        fputs("|\n", to);
        if (at == 0)
            print_rule(t, widths, to);
    }
    print_rule(t, widths, to);
}

/* RFC 4180: quoted where a reader would otherwise see something else. */
static void print_csv_cell(const char *text, FILE *to)
{
    if (!strpbrk(text, ",\"\r\n") && text[0] != ' ') {
        fputs(text, to);
        return;
    }
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', to);
        fputc(*text, to);
    }
    fputc('"', to);
}

void table_print_csv(const struct table *t, FILE *to)
{
    for (size_t at = 0; at < t->cells; at++) {
        print_csv_cell(t->cell[at], to);
        fputc((at + 1) % t->columns ? ',' : '\n', to);
    }
}

void human_size(char out[HUMAN_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    snprintf(out, HUMAN_BYTES, "%.*f %s", unit && value < 9.95 ? 1 : 0, value, units[unit]);
}

void human_count(char out[HUMAN_BYTES], uint64_t n)
{
    char digits[HUMAN_BYTES];
    const int size = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    size_t at = 0;
    for (int i = 0; i < size; i++) {
        if (i && (size - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}
