/*
 * join: an empty database becomes a mirror.
 *
 *   step            where     undone by a second join when it was interrupted here
 *   check           both      nothing to undo
 *   tables          mirror    unfinished tables are dropped and made anew
 *   functions       mirror    kept
 *   local_site      mirror    kept: from here on the database is known to be an unfinished mirror
 *   site row        primary   kept: it is ours
 *   slot            primary   dropped and made anew
 *   subscription    mirror    kept: PostgreSQL itself goes on with the copy
 *   copy, marker    both      goes on (the agent finishes it as well)
 *
 * The slot is made apart from the subscription, because CREATE SUBSCRIPTION would wait for itself
 * where both databases are in one cluster.
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "mirror/conninfo.h"
#include "mirror/join.h"
#include "mirror/mirror.h"

static const struct conf_option options[] = {
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the primary, as the mirror's PostgreSQL and this program reach it",
     .offset = offsetof(struct join_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary, when the URL has none; give it by the environment",
     .offset = offsetof(struct join_options, primary_password)},
    {.name = "primary-passfile",
     .type = CONF_STRING,
     .help = "passfile that the mirror's PostgreSQL can read; then no password is stored",
     .offset = offsetof(struct join_options, primary_passfile)},
    {.name = "source",
     .type = CONF_STRING,
     .help = "URL of another mirror, to follow it instead of the primary",
     .offset = offsetof(struct join_options, source)},
    {.name = "source-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the source; give it by the environment",
     .offset = offsetof(struct join_options, source_password)},
    {.name = "name",
     .type = CONF_STRING,
     .help = "name of this site: a-z, 0-9 and _",
     .offset = offsetof(struct join_options, name)},
    {.name = "bucket",
     .type = CONF_STRING,
     .help = "this site's own bucket, a directory; without it blocks are read from the origin",
     .offset = offsetof(struct join_options, bucket)},
    {.name = "origin",
     .type = CONF_STRING,
     .help = "where this site finds the primary's bucket, instead of what the volume says",
     .offset = offsetof(struct join_options, origin)},
    {.name = "check",
     .type = CONF_FLAG,
     .help = "only show what is found, change nothing",
     .offset = offsetof(struct join_options, check)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print what is found as JSON",
     .offset = offsetof(struct join_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror join",
    .arguments = "MIRROR-URL",
    .summary = "make an empty database a mirror of a primary",
    .details =
        "  tarn mirror join --primary postgres://repl@db.paris/volume --name tokyo \\\n"
        "      --bucket /srv/blocks/ --origin /mnt/paris-blocks/ postgres://owner@db.tokyo/volume\n\n"
        "Checks both servers, makes the tables as the primary has them, subscribes, follows the\n"
        "first copy and waits until the mirror is consistent; then it can be mounted. An\n"
        "interrupted join is gone on with by the same command.\n\n"
        "Where the role may not subscribe (PostgreSQL 14 and 15: only superusers may) it prints one\n"
        "statement for a superuser, waits until that has been run, and goes on.\n\n"
        "Passwords: TARN_PRIMARY_PASSWORD for the primary, TARN_SOURCE_PASSWORD for a source,\n"
        "META_PASSWORD for all that have none, or a passfile; sslmode, sslrootcert, sslcert and\n"
        "sslkey in the URL are for the subscription too. What is not in a passfile is kept where\n"
        "only superusers of the mirror's PostgreSQL can read it.\n"
        "Exit codes: 0 consistent, 1 a check failed, 2 wrong use, 3 unreachable, 4 denied.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* Slot names allow nothing else. */
static bool is_site_name(const char *name)
{
    size_t size = name ? strlen(name) : 0;
    return size > 0 && size <= JOIN_SITE_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == size;
}

/* A directory as the site row keeps it: file:///absolute/path/. */
static enum rc bucket_url(const char *path, char out[PATH_MAX], struct err *e)
{
    out[0] = '\0';
    if (!path || !path[0])
        return RC_OK;
    char here[PATH_MAX] = "";
    bool is_url = strncmp(path, "file://", 7) == 0;
    if (!is_url && path[0] != '/' && !getcwd(here, sizeof(here)))
        return err_os(e, errno, "could not find the working directory");
    const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
    int size = snprintf(out, PATH_MAX, "%s%s%s%s%s", is_url ? "" : "file://", here,
                        here[0] ? "/" : "", path, slash);
    return size < PATH_MAX ? RC_OK : err_fail(e, RC_INVALID, "path \"%s\" is too long", path);
}

static enum rc followed_url(struct join *j, struct err *e)
{
    const char *url = j->o->source ? j->o->source : j->o->primary, *text;
    auto_buf struct buf out;
    buf_init(&out, JOIN_URL_MAX - 1);
    if (conninfo_secret(url, NULL, j->o->primary_passfile, &out, e) || buf_cstr(&out, &text, e))
        return err_note(e, "URL of the %s", j->o->source ? "source" : "primary");
    (void)snprintf(j->followed, sizeof(j->followed), "%s", text);
    return RC_OK;
}

static enum rc check_options(struct join *j, struct err *e)
{
    if (!j->o->primary)
        return err_fail(e, RC_INVALID, "option --primary is missing");
    if (!is_site_name(j->o->name))
        return err_fail(e, RC_INVALID, "option --name must be 1 to %d of a-z, 0-9 and _",
                        JOIN_SITE_MAX);
    const char *password = j->o->source ? j->o->source_password : j->o->primary_password;
    j->password = password && password[0] ? password : NULL;
    if (followed_url(j, e))
        return e->code;
    (void)snprintf(j->slot, sizeof(j->slot), "tarn_%s", j->o->name);
    if (bucket_url(j->o->bucket, j->bucket, e) || bucket_url(j->o->origin, j->origin, e))
        return e->code;
    return RC_OK;
}

static enum rc carry_out(struct join *j, struct err *e)
{
    if (strcmp(j->target, "mirror") == 0) {
        (void)printf("done     \"%s\" is a mirror already\n", j->o->name);
        return meta_install_missing(j->own, clock_deadline(MIRROR_CALL_MS), e);
    }
    if (j->has_subscription && join_resume(j, e))
        return e->code;
    if (!j->has_subscription && join_make(j, e))
        return e->code;
    if (join_follow(j, e))
        return e->code;
    (void)printf("done     mirror \"%s\" is consistent and can be mounted\n", j->o->name);
    return RC_OK;
}

static enum rc show(const struct findings *found, bool as_json, struct err *e)
{
    if (!as_json) {
        findings_print(found, stdout);
        return RC_OK;
    }
    return json_print(found->list, stdout, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct join_options *o = into;
    struct join j = {.o = o, .url = arguments[0]};
    auto_findings struct findings found = {0};
    enum rc rc = findings_init(&found, e);
    if (!rc)
        rc = check_options(&j, e);
    if (!rc)
        rc = join_connect(&j, e);
    if (!rc)
        rc = join_check(&j, &found, e);
    if (!rc)
        rc = show(&found, o->json, e);
    if (!rc && found.problems)
        rc = findings_refuse(&found, "cannot join", e);
    if (!rc && !o->check)
        rc = carry_out(&j, e);
    pg_close(&j.own);
    pg_close(&j.primary);
    pg_close(&j.home);
    return rc;
}

int mirror_join(int argc, char **argv)
{
    struct join_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
