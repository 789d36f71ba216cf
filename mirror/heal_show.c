#include "mirror/heal_show.h"

#include <inttypes.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "mirror/mirror.h"

enum rc heal_document(struct pg *own, struct json **out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.heal_document()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not read how this mirror heals");
    return json_parse(pg_get_bytes(row, 0, 0), out, e);
}

static void print_statements(const struct json *statements)
{
    for (size_t i = 0; i < json_length(statements); i++) {
        const struct json *s = json_at(statements, i);
        (void)printf("to do    %s\n         (%s)\n", json_get_string(s, "statement", ""),
                     json_get_string(s, "problem", ""));
    }
}

static void print_reseed(const struct json *r)
{
    const char *problem = json_get_string(r, "problem", NULL);
    (void)printf("reseed   %s: %" PRId64 " of %" PRId64 " tables, %" PRId64 " of %" PRId64
                 " bytes, into database \"%s\"\n",
                 json_get_string(r, "step", "?"), json_get_int(r, "tables_done", 0),
                 json_get_int(r, "tables_total", 0), json_get_int(r, "bytes_done", 0),
                 json_get_int(r, "bytes_total", 0), json_get_string(r, "database", "?"));
    if (problem)
        (void)printf("         %s\n", problem);
}

static void print_margin(const struct json *healing)
{
    int64_t days = json_get_int(healing, "trash_days", 0);
    int64_t margin_s = json_get_int(healing, "deletion_margin_seconds", 0);
    if (days == 0)
        (void)printf(
            "trash    off at the primary: what stock clients remove may still be read here\n");
    else
        (void)printf("trash    %" PRId64 " days: %" PRId64
                     " hours before what stock clients remove may still be read here\n",
                     days, margin_s / 3600);
}

void heal_print(const struct json *healing)
{
    const struct json *reseed = json_get(healing, "reseed");
    if (json_get_string(reseed, "step", NULL))
        print_reseed(reseed);
    print_statements(json_get(healing, "statements"));
    print_margin(healing);
}
