/*
 * adopt: check, install, take. Nothing is changed before every check has passed, and repeating it
 * changes nothing.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/meta/finding.h"
#include "fs/meta/meta_install.h"
#include "primary/epoch.h"
#include "primary/primary.h"

struct adopt_options {
    const char *name;
    const char *bucket;
    bool check;
    bool raise_epoch;
    bool json;
};

static const struct conf_option options[] = {
    {.name = "name",
     .type = CONF_STRING,
     .help = "name of this site, at first \"primary\"; changeable while there is no mirror",
     .offset = offsetof(struct adopt_options, name)},
    {.name = "check",
     .type = CONF_FLAG,
     .help = "only show what is found, change nothing",
     .offset = offsetof(struct adopt_options, check)},
    {.name = "raise-epoch",
     .type = CONF_FLAG,
     .help = "after a restore or a move to another server: number everything anew, with no client "
             "mounted",
     .offset = offsetof(struct adopt_options, raise_epoch)},
    {.name = "bucket",
     .type = CONF_STRING,
     .help = "where the bucket is, instead of what the volume says (for --raise-epoch)",
     .offset = offsetof(struct adopt_options, bucket)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct adopt_options, json)},
};

static const struct conf_command command = {
    .name = "tarn primary adopt",
    .arguments = "META-URL",
    .summary = "make an existing JuiceFS volume a primary that mirrors can join",
    .details =
        "Checks the server and the volume, one line for each finding with the command that mends\n"
        "it; then installs schema tarn and the functions, sets the replica identity of three\n"
        "tables and publishes. The volume's own tables and data stay as they are, and stock\n"
        "clients go on. Repeating it changes nothing, and installs newer functions.\n\n"
        "  tarn primary adopt postgres://owner@db.example/volume --name paris\n\n"
        "The password comes from META_PASSWORD or a libpq passfile.\n"
        "Exit codes: 0 done, 1 a check failed, 3 unreachable, 4 denied, 5 no volume there.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc note_step(struct json *steps, const char *step, struct err *e)
{
    if (!steps) {
        (void)printf("done     %s\n", step);
        return RC_OK;
    }
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(item, "step", step, e))
        return e->code;
    return json_append(steps, &item, e);
}

enum rc primary_take(struct pg *pg, const char *site, struct json *steps, struct err *e)
{
    if (meta_install_missing(pg, clock_deadline(PRIMARY_CALL_MS), e))
        return e->code;
    auto_result struct pg_result *rows = NULL;
    const struct pg_param name = pg_text(site);
    if (pg_call(pg, "SELECT * FROM tarn_1.adopt($1)", &name, 1, clock_deadline(PRIMARY_CALL_MS),
                &rows, e))
        return err_note(e, "could not make the database a primary");
    for (int i = 0; i < pg_rows(rows); i++)
        if (note_step(steps, pg_get_text(rows, i, pg_column(rows, "step")), e))
            return e->code;
    return RC_OK;
}

static enum rc show(struct findings *found, struct json **steps, bool as_json, struct err *e)
{
    if (!as_json)
        return RC_OK;
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_bool(document, "adopted", found->problems == 0, e) ||
        json_set(document, "findings", &found->list, e) || json_set(document, "steps", steps, e))
        return e->code;
    return json_print(document, stdout, e);
}

/* Find, and take when nothing stands against it. */
static enum rc adopt(const struct adopt_options *o, const char *url, struct findings *found,
                     struct json *steps, struct err *e)
{
    struct pg *pg = NULL;
    enum rc rc = primary_connect(&pg, url, e);
    if (!rc)
        rc = findings_prepare(pg, clock_deadline(PRIMARY_CALL_MS), e);
    if (!rc)
        rc = findings_ask(found, pg, "SELECT * FROM pg_temp.adopt_findings()", NULL, 0,
                          clock_deadline(PRIMARY_CALL_MS), e);
    const struct pg_param newest = pg_int4(meta_site_newest());
    if (!rc && found->problems == 0)
        rc = findings_ask(found, pg, "SELECT * FROM pg_temp.upgrade_findings($1)", &newest, 1,
                          clock_deadline(PRIMARY_CALL_MS), e);
    if (!rc && !o->json)
        findings_print(found, stdout);
    if (!rc && found->problems == 0 && !o->check)
        rc = primary_take(pg, o->name, o->json ? steps : NULL, e);
    pg_close(&pg);
    return rc;
}

static enum rc raise_epoch(const struct adopt_options *o, const char *url, struct json *steps,
                           struct err *e)
{
    int64_t epoch = 0;
    if (epoch_raise(url, o->bucket, &epoch, e))
        return err_note(e, "could not raise the epoch");
    char step[64];
    (void)snprintf(step, sizeof(step), "the volume is in epoch %" PRId64 " now", epoch);
    return note_step(o->json ? steps : NULL, step, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct adopt_options *o = into;
    auto_findings struct findings found = {0};
    auto_json struct json *steps = json_array_new();
    enum rc rc = steps ? findings_init(&found, e) : err_fail(e, RC_NO_SPACE, "out of memory");
    if (!rc)
        rc = adopt(o, arguments[0], &found, steps, e);
    if (!rc && found.problems == 0 && o->raise_epoch && !o->check)
        rc = raise_epoch(o, arguments[0], steps, e);
    if (!rc)
        rc = show(&found, &steps, o->json, e);
    return rc || found.problems == 0 ? rc : findings_refuse(&found, "cannot adopt", e);
}

int primary_adopt(int argc, char **argv)
{
    struct adopt_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
