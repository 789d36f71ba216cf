/*
 * mark: a marker in the data. Whoever sees it at a mirror sees all that was committed before it was
 * made: tarn mirror wait --marker.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "primary/primary.h"

#define NAME_MAX_BYTES 64

struct mark_options {
    bool json;
};

static const struct conf_option options[] = {
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct mark_options, json)},
};

static const struct conf_command command = {
    .name = "tarn primary mark",
    .arguments = "NAME META-URL",
    .summary = "make a marker that mirrors can be waited for by",
    .details =
        "Prints NAME:VALUE for tarn mirror wait --marker. The same name again has the next value;\n"
        "seeing a value stands for all that was committed before it was made.\n\n"
        "  tarn primary mark v7 postgres://rw@db.paris/volume\n\n"
        "Exit codes: 0 made, 2 wrong use, 3 unreachable, 4 denied, 5 not adopted, 6 not a primary.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};

static enum rc check_name(const char *name, struct err *e)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    size_t size = strlen(name);
    if (size > 0 && size <= NAME_MAX_BYTES && strspn(name, allowed) == size)
        return RC_OK;
    return err_fail(e, RC_INVALID, "a marker's name is 1 to %d of A-Z, a-z, 0-9, _ . - and /",
                    NAME_MAX_BYTES);
}

static enum rc check_role(struct pg *pg, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    enum rc rc = pg_call(pg, "SELECT * FROM tarn_1.epoch()", NULL, 0,
                         clock_deadline(PRIMARY_CALL_MS), &row, e);
    if (rc == RC_NOT_FOUND)
        return primary_not_adopted(e);
    if (rc || pg_rows(row) == 1)
        return rc;
    err_fail(e, RC_INVALID, "this database is no primary: a marker is made where writes go");
    return err_exits(e, EXIT_NOT_READY);
}

static enum rc show(bool as_json, const char *name, const struct pg_result *row, struct err *e)
{
    const int64_t value = pg_get_int8(row, 0, pg_column(row, "value"));
    if (!as_json) {
        (void)printf("%s:%" PRId64 "\n", name, value);
        return RC_OK;
    }
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    char marker[NAME_MAX_BYTES + 32];
    (void)snprintf(marker, sizeof(marker), "%s:%" PRId64, name, value);
    if (json_set_string(document, "marker", marker, e) ||
        json_set_string(document, "name", name, e) || json_set_int(document, "value", value, e) ||
        json_set_int(document, "epoch", pg_get_int8(row, 0, pg_column(row, "epoch")), e))
        return e->code;
    return json_print(document, stdout, e);
}

static enum rc make(struct pg *pg, const char *name, bool as_json, struct err *e)
{
    char full[NAME_MAX_BYTES + 8];
    (void)snprintf(full, sizeof(full), "wait/%s", name);
    const struct pg_param param = pg_text(full);
    auto_result struct pg_result *row = NULL;
    if (check_role(pg, e) || pg_call(pg, "SELECT * FROM tarn_1.mark($1)", &param, 1,
                                     clock_deadline(PRIMARY_CALL_MS), &row, e))
        return err_note(e, "could not make marker \"%s\"", name);
    return show(as_json, name, row, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct mark_options *o = into;
    struct pg *pg = NULL;
    enum rc rc = check_name(arguments[0], e);
    if (!rc)
        rc = primary_connect(&pg, arguments[1], e);
    if (!rc)
        rc = make(pg, arguments[0], o->json, e);
    pg_close(&pg);
    return rc;
}

int primary_mark(int argc, char **argv)
{
    struct mark_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
