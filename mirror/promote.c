/*
 * promote: the command. What it does is in mirror/promote.h, step by step.
 */
#include "mirror/promote.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

static const struct conf_option options[] = {
    {.name = "force",
     .type = CONF_FLAG,
     .help = "the primary is lost: go on without it, and without what it has not sent",
     .offset = offsetof(struct promote_options, is_forced)},
    {.name = "check",
     .type = CONF_FLAG,
     .help = "only show what is found, change nothing",
     .offset = offsetof(struct promote_options, is_check)},
    {.name = "abort",
     .type = CONF_FLAG,
     .help = "undo an interrupted promotion that has not switched yet",
     .offset = offsetof(struct promote_options, is_abort)},
    {.name = "ask",
     .type = CONF_FLAG,
     .help = "wait for Enter before each step",
     .offset = offsetof(struct promote_options, is_asking)},
    {.name = "timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 1000,
     .max = 3600000,
     .help = "writers are stopped for so long at most; then all is undone",
     .offset = offsetof(struct promote_options, timeout_ms)},
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of a superuser at the primary, instead of what the subscription uses",
     .offset = offsetof(struct promote_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password for --primary, when the URL has none; give it by the environment",
     .offset = offsetof(struct promote_options, primary_password)},
    {.name = "url",
     .type = CONF_STRING,
     .help = "URL of this database as the other sites' PostgreSQL reaches it; default: MIRROR-URL",
     .offset = offsetof(struct promote_options, url)},
    {.name = "replication-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password for --url; give it by the environment; default: META_PASSWORD",
     .offset = offsetof(struct promote_options, replication_password)},
    {.name = "replication-passfile",
     .type = CONF_STRING,
     .help = "passfile that the old primary's PostgreSQL can read; then no password is stored",
     .offset = offsetof(struct promote_options, replication_passfile)},
    {.name = "origin",
     .type = CONF_STRING,
     .help = "where the old primary finds this site's bucket, if not where the volume will say",
     .offset = offsetof(struct promote_options, origin)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct promote_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror promote",
    .arguments = "MIRROR-URL",
    .summary = "make this mirror the primary, and the primary a mirror of it",
    .details =
        "  tarn mirror promote postgres://owner@db.tokyo/volume\n\n"
        "Planned: writers at the primary are stopped, everything that was committed arrives\n"
        "here, the roles are switched, and the old primary follows. Nothing is lost and nothing\n"
        "is copied. Mounts of ours wait and go on; stock clients see EIO on writes, and mount\n"
        "the new primary. Afterwards start tarn primary run and tarn syncer run here, and tarn\n"
        "mirror run at the old primary.\n\n"
        "The command may be killed and run again at any time. Before the switch --abort undoes\n"
        "it; after it there is only forward, and tarn mirror demote to go back.\n\n"
        "With --force what the primary has not sent is lost to this site, and listed as far as\n"
        "the primary can be read: its replication slot is kept. An unreachable primary cannot be\n"
        "fenced from here; the command says what to revoke. When it returns: tarn mirror rejoin.\n\n"
        "Passwords: META_PASSWORD for the servers, TARN_PRIMARY_PASSWORD for --primary,\n"
        "TARN_REPLICATION_PASSWORD for --url.\n"
        "Exit codes: 0 promoted, 1 a check failed or it was undone, 2 wrong use, 3 unreachable,\n"
        "4 denied, 6 not a mirror, 7 a bucket cannot be used.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* ------------------------------------------------------------------------------- what is there
 */

static void keep(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text ? text : "");
}

/* The bucket that the format row names, as a site row would. */
static enum rc bucket_of_format(const char *format, char out[PATH_MAX], struct err *e)
{
    auto_json struct json *row = NULL;
    if (json_parse((struct bytes){(const uint8_t *)format, strlen(format)}, &row, e))
        return err_note(e, "could not read the format row");
    const char *bucket = json_get_string(row, "Bucket", "");
    (void)snprintf(out, PATH_MAX, "%s%s", bucket[0] == '/' ? "file://" : "", bucket);
    return RC_OK;
}

static enum rc read_site(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.volume()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not ask which site this is");
    const char *role = pg_get_text(row, 0, pg_column(row, "role"));
    const char *format = pg_get_text(row, 0, pg_column(row, "format"));
    if (!role || !format) {
        err_fail(e, RC_NOT_FOUND, "this database is no mirror; tarn mirror join makes it one");
        return err_exits(e, EXIT_NOT_FORMATTED);
    }
    const char *local = pg_get_text(row, 0, pg_column(row, "local_bucket"));
    const char *origin = pg_get_text(row, 0, pg_column(row, "origin_bucket"));
    p->is_primary = strcmp(role, "primary") == 0;
    keep(p->site, sizeof(p->site), pg_get_text(row, 0, pg_column(row, "site")));
    keep(p->old_url, sizeof(p->old_url), pg_get_text(row, 0, pg_column(row, "primary_url")));
    p->has_own_bucket = !p->is_primary && local;
    keep(p->own_bucket, sizeof(p->own_bucket), local);
    if (!p->has_own_bucket)
        return RC_OK;
    if (!origin)
        return bucket_of_format(format, p->old_bucket, e);
    keep(p->old_bucket, sizeof(p->old_bucket), origin);
    return RC_OK;
}

static enum rc read_journal(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.promotion()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not read the journal");
    if (pg_rows(row) == 0)
        return RC_OK;
    p->epoch = pg_get_int8(row, 0, pg_column(row, "epoch"));
    p->is_open = pg_get_bool(row, 0, pg_column(row, "is_open"));
    if (!p->is_open)
        return RC_OK;
    p->has_switched = pg_get_bool(row, 0, pg_column(row, "has_switched"));
    p->marker = pg_get_int8(row, 0, pg_column(row, "marker"));
    keep(p->marker_lsn, sizeof(p->marker_lsn), pg_get_text(row, 0, pg_column(row, "marker_lsn")));
    keep(p->old_site, sizeof(p->old_site), pg_get_text(row, 0, pg_column(row, "old_site")));
    if (!p->has_switched)
        return RC_OK;
    keep(p->old_url, sizeof(p->old_url), pg_get_text(row, 0, pg_column(row, "old_url")));
    keep(p->old_bucket, sizeof(p->old_bucket), pg_get_text(row, 0, pg_column(row, "old_bucket")));
    return RC_OK;
}

static enum rc take_lock(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.promote_lock()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    return pg_get_bool(row, 0, 0)
               ? RC_OK
               : err_fail(e, RC_EXISTS, "another promotion is at work on this site");
}

enum rc promote_open(struct promote *p, struct err *e)
{
    p->steps = json_array_new();
    if (!p->steps)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (mirror_connect(&p->own, p->url, NULL, MIRROR_CONNECT_MS, e))
        return err_note(e, "mirror");
    return read_site(p, e) || read_journal(p, e) || take_lock(p, e) ? e->code : RC_OK;
}

void promote_close(struct promote *p)
{
    volume_close(&p->volume);
    pg_close(&p->old);
    pg_close(&p->own);
    json_free(&p->steps);
}

enum rc promote_reach_old(struct promote *p, uint64_t wait_ms, struct err *e)
{
    const struct promote_options *o = p->o;
    enum rc rc = RC_NOT_FOUND;
    if (p->old && pg_is_open(p->old))
        return RC_OK;
    pg_close(&p->old);
    if (o->primary)
        rc = mirror_connect(&p->old, o->primary, o->primary_password, wait_ms, e);
    else
        rc = mirror_connect_primary(p->own, &p->old, wait_ms, e);
    if (rc == RC_NOT_FOUND && p->old_url[0])
        rc = mirror_connect(&p->old, p->old_url, o->primary_password, wait_ms, e);
    if (!rc)
        rc = mirror_do(p->old, "SELECT tarn_1.write_anyway()", NULL, e);
    if (!rc)
        return RC_OK;
    pg_close(&p->old);
    return err_note(e, "primary");
}

/* ---------------------------------------------------------------------------- what is said of it
 */

enum rc promote_note(struct promote *p, const char *step, struct err *e, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, arguments);
    va_end(arguments);
    if (!p->o->json) {
        (void)printf("%-8s %s\n", step, text);
        return RC_OK;
    }
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(item, "step", step, e) || json_set_string(item, "text", text, e))
        return e->code;
    return json_append(p->steps, &item, e);
}

enum rc promote_check(struct promote *p, struct findings *found, struct err *e)
{
    const struct pg_param forced = pg_bool(p->o->is_forced), site = pg_text(p->site);
    if (findings_ask(found, p->own, "SELECT * FROM tarn_1.promote_findings($1)", &forced, 1,
                     clock_deadline(MIRROR_CALL_MS), e))
        return e->code;
    if (p->o->is_forced)
        return findings_add(found, FINDING_ADVICE, "primary", NULL, e,
                            "what \"%s\" has not sent is lost to this site",
                            p->old_url[0] ? p->old_url : "the primary");
    if (promote_reach_old(p, MIRROR_CONNECT_MS, e))
        return err_note(e, "the primary cannot be reached (--force goes on without it)");
    return findings_ask(found, p->old, "SELECT * FROM tarn_1.demote_findings($1)", &site, 1,
                        clock_deadline(MIRROR_CALL_MS), e);
}

static enum rc show(struct promote *p, struct findings *found, struct err *e)
{
    if (!p->o->json)
        return RC_OK;
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(document, "site", p->site, e) ||
        json_set_bool(document, "promoted", p->has_switched && !p->is_open, e) ||
        json_set_int(document, "epoch", p->epoch, e) ||
        json_set(document, "findings", &found->list, e) ||
        json_set(document, "steps", &p->steps, e))
        return e->code;
    return json_print(document, stdout, e);
}

/* Look, and refuse what cannot go well. A promotion that has switched only has to go on. */
static enum rc look_first(struct promote *p, struct findings *found, struct err *e)
{
    if (p->has_switched)
        return promote_note(p, "again", e, "a promotion of \"%s\" has switched: going on with it",
                            p->site);
    if (promote_check(p, found, e) || promote_buckets_open(p, e))
        return e->code;
    if (!p->o->json)
        findings_print(found, stdout);
    return found->problems ? findings_refuse(found, "cannot promote", e) : RC_OK;
}

static enum rc carry_out(struct promote *p, struct findings *found, struct err *e)
{
    if (p->is_primary && !p->is_open)
        return promote_note(p, "done", e, "\"%s\" is the primary already", p->site);
    if (p->o->is_abort)
        return promote_abort(p, e);
    enum rc rc = look_first(p, found, e);
    if (rc || p->o->is_check)
        return rc;
    return p->o->is_forced ? promote_forced(p, e) : promote_planned(p, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct promote p = {.o = into, .url = arguments[0]};
    auto_findings struct findings found = {0};
    enum rc rc = findings_init(&found, e);
    if (!rc)
        rc = promote_open(&p, e);
    if (!rc)
        rc = carry_out(&p, &found, e);
    if (!rc)
        rc = show(&p, &found, e);
    promote_close(&p);
    return rc;
}

int mirror_promote(int argc, char **argv)
{
    struct promote_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
