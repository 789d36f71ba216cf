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
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "fs/meta/finding.h"
#include "mirror/conninfo.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/mirror.h"

#define CONNINFO_MAX            8192
#define SITE_MAX                40
#define LOOK_MS                 200
#define LOCK_MS                 15000
#define NAG_MS                  15000
#define SLOT_MS                 600000
#define CLOCK_DIFFERENCE_MAX_MS 1000

struct join_options {
    const char *primary, *primary_password, *primary_passfile;
    const char *name, *bucket, *origin;
    bool check, json;
};

static const struct conf_option options[] = {
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the primary, as the mirror's PostgreSQL reaches it",
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
    .name = "tarn-mirror join",
    .arguments = "MIRROR-URL",
    .summary = "make an empty database a mirror of a primary",
    .details =
        "  tarn-mirror join --primary postgres://repl@db.paris/volume --name tokyo \\\n"
        "      --bucket /srv/blocks/ --origin /mnt/paris-blocks/ postgres://owner@db.tokyo/volume\n\n"
        "Checks both servers, makes the tables as the primary has them, subscribes, follows the\n"
        "first copy and waits until the mirror is consistent; then it can be mounted. An\n"
        "interrupted join is gone on with by the same command.\n\n"
        "Passwords: META_PASSWORD for both servers, TARN_PRIMARY_PASSWORD for the primary.\n"
        "Exit codes: 0 consistent, 1 a check failed, 2 wrong use, 3 unreachable, 4 denied.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct join {
    const struct join_options *o;
    const char *url;
    char slot[SITE_MAX + 8];
    char bucket[PATH_MAX], origin[PATH_MAX]; /* as URLs; "" for none */
    char target[16];                         /* pg_temp.target_state() */
    bool has_subscription;
    struct pg *own, *primary;
};

/* ------------------------------------------------------------------------------------- options */

/* Slot names allow nothing else. */
static bool is_site_name(const char *name)
{
    size_t size = name ? strlen(name) : 0;
    return size > 0 && size <= SITE_MAX &&
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

static enum rc check_options(struct join *j, struct err *e)
{
    if (!j->o->primary)
        return err_fail(e, RC_INVALID, "option --primary is missing");
    if (!is_site_name(j->o->name))
        return err_fail(e, RC_INVALID, "option --name must be 1 to %d of a-z, 0-9 and _", SITE_MAX);
    (void)snprintf(j->slot, sizeof(j->slot), "tarn_%s", j->o->name);
    if (bucket_url(j->o->bucket, j->bucket, e) || bucket_url(j->o->origin, j->origin, e))
        return e->code;
    return RC_OK;
}

/* -------------------------------------------------------------------------------------- checks */

static const char *password_of(const struct join_options *o)
{
    return o->primary_password && o->primary_password[0] ? o->primary_password : NULL;
}

static enum rc connect_both(struct join *j, struct err *e)
{
    if (mirror_connect(&j->own, j->url, NULL, MIRROR_CONNECT_MS, e))
        return err_note(e, "mirror");
    if (mirror_connect(&j->primary, j->o->primary, password_of(j->o), MIRROR_CONNECT_MS, e))
        return err_note(e, "primary");
    return RC_OK;
}

/* One server's clock, and which cluster it is. */
static enum rc read_clock(struct pg *pg, const char *sql, int64_t *us, char system[32],
                          struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(pg, sql, NULL, 0, clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    *us = pg_get_int8(row, 0, pg_column(row, "us"));
    (void)snprintf(system, 32, "%s", pg_get_text(row, 0, pg_column(row, "system_identifier")));
    return RC_OK;
}

static enum rc check_primary(struct join *j, struct findings *found, struct err *e)
{
    char here[32], there[32];
    int64_t own_us, primary_us;
    if (read_clock(j->own, "SELECT * FROM pg_temp.clock()", &own_us, here, e))
        return e->code;
    uint64_t asked_us = clock_us();
    enum rc rc = read_clock(j->primary, "SELECT * FROM tarn_1.clock()", &primary_us, there, e);
    if (rc == RC_NOT_FOUND)
        return findings_add(found, FINDING_PROBLEM, "primary", "tarn-primary adopt PRIMARY-URL", e,
                            "the database at the primary has not been adopted by this version");
    if (rc)
        return err_note(e, "primary");
    int64_t difference_ms = (own_us - primary_us) / 1000;
    if (difference_ms < 0)
        difference_ms = -difference_ms;
    difference_ms -= (int64_t)((clock_us() - asked_us) / 1000); /* the time the question took */
    rc =
        difference_ms > CLOCK_DIFFERENCE_MAX_MS
            ? findings_add(found, FINDING_ADVICE, "clock", "run an NTP client on both servers", e,
                           "the clocks of both servers differ by %" PRId64
                           " ms: lag in seconds will be wrong by as much",
                           difference_ms)
            : findings_add(found, FINDING_OK, "clock", NULL, e, "the clocks of both servers agree");
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(here)};
    return rc ? rc
              : findings_ask(found, j->primary, "SELECT * FROM tarn_1.join_findings($1,$2)", params,
                             2, clock_deadline(MIRROR_CALL_MS), e);
}

/* The parent of a directory that has to be made; a pattern for shards is looked at as far as it
 * can be. */
static void parent_of(const char *path, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s", path);
    char *verb = strchr(out, '%');
    if (verb)
        *verb = '\0';
    size_t size = strlen(out);
    while (size > 1 && !verb && out[size - 1] == '/')
        out[--size] = '\0';
    char *slash = strrchr(out, '/');
    if (slash)
        slash[slash == out] = '\0';
}

static enum rc check_bucket(const struct join *j, struct findings *found, struct err *e)
{
    if (!j->bucket[0])
        return findings_add(found, FINDING_OK, "bucket", NULL, e,
                            "no bucket of its own: blocks are read from the origin");
    const char *path = j->bucket + strlen("file://");
    char parent[PATH_MAX];
    struct stat st;
    parent_of(path, parent);
    if (!strchr(path, '%') && stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode) && access(path, W_OK) == 0)
            return findings_add(found, FINDING_OK, "bucket", NULL, e, "bucket \"%s\" is there",
                                path);
        return findings_add(found, FINDING_PROBLEM, "bucket", "choose another --bucket", e,
                            "\"%s\" is no directory that can be written", path);
    }
    if (stat(parent, &st) == 0 && S_ISDIR(st.st_mode) && access(parent, W_OK) == 0)
        return findings_add(found, FINDING_OK, "bucket", NULL, e, "bucket \"%s\" can be made",
                            path);
    return findings_add(found, FINDING_PROBLEM, "bucket", "make the directory above it", e,
                        "bucket \"%s\" cannot be made in \"%s\"", path, parent);
}

static enum rc read_target(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(j->slot);
    if (pg_call(j->own, "SELECT pg_temp.target_state(), pg_temp.has_subscription($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look at the target database");
    (void)snprintf(j->target, sizeof(j->target), "%s", pg_get_text(row, 0, 0));
    j->has_subscription = pg_get_bool(row, 0, 1);
    return RC_OK;
}

static enum rc check(struct join *j, struct findings *found, struct err *e)
{
    const struct pg_param name = pg_text(j->o->name);
    if (connect_both(j, e) || findings_prepare(j->own, clock_deadline(MIRROR_CALL_MS), e) ||
        findings_ask(found, j->own, "SELECT * FROM pg_temp.join_findings($1)", &name, 1,
                     clock_deadline(MIRROR_CALL_MS), e) ||
        check_primary(j, found, e) || check_bucket(j, found, e))
        return e->code;
    return read_target(j, e);
}

/* ---------------------------------------------------------------------------------------- steps */

static enum rc make_tables(struct join *j, struct err *e)
{
    auto_result struct pg_result *ddl = NULL;
    uint64_t deadline_ms = clock_deadline(MIRROR_CALL_MS);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.volume_ddl()", NULL, 0, deadline_ms, &ddl, e))
        return err_note(e, "could not ask the primary for its tables");
    const char *text = pg_rows(ddl) == 1 ? pg_get_text(ddl, 0, 0) : NULL;
    if (!text)
        return err_fail(e, RC_INVALID, "the primary has no tables of a volume");
    if (pg_script(j->own, "BEGIN", deadline_ms, e) ||
        mirror_do(j->own, "SELECT pg_temp.drop_unfinished()", NULL, e) ||
        pg_script(j->own, text, deadline_ms, e) || pg_script(j->own, "COMMIT", deadline_ms, e)) {
        err_note(e, "could not make the tables of the volume");
        pg_close(&j->own); /* rolls back, and nobody goes on with a broken transaction */
        return e->code;
    }
    return RC_OK;
}

static enum rc begin_site(struct join *j, char system[32], struct err *e)
{
    auto_buf struct buf shown;
    buf_init(&shown, CONNINFO_MAX);
    const char *url;
    if (conninfo_public(j->o->primary, &shown, e) || buf_cstr(&shown, &url, e))
        return e->code;
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(j->bucket[0] ? j->bucket : NULL),
                                      pg_text(j->origin[0] ? j->origin : NULL), pg_text(url)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(j->own, "SELECT * FROM tarn_1.mirror_begin($1,$2,$3,$4)", params, 4,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not begin the mirror");
    (void)snprintf(system, 32, "%s", pg_get_text(row, 0, 0));
    return RC_OK;
}

static enum rc register_site(struct join *j, const char *system, struct err *e)
{
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(system)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(j->primary, "SELECT * FROM tarn_1.register($1,$2)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not register the mirror at the primary");
    if (!pg_get_bool(row, 0, 0))
        return err_fail(e, RC_EXISTS, "another site is called \"%s\"", j->o->name);
    return RC_OK;
}

static enum rc subscribe(struct join *j, struct err *e)
{
    const char *password = password_of(j->o) ? password_of(j->o) : getenv("META_PASSWORD");
    auto_buf struct buf secret;
    buf_init(&secret, CONNINFO_MAX);
    const char *conninfo;
    if (conninfo_secret(j->o->primary, password, j->o->primary_passfile, &secret, e) ||
        buf_cstr(&secret, &conninfo, e))
        return e->code;
    if (mirror_do(j->own, "SELECT tarn_1.subscribe($1)", conninfo, e))
        return err_note(e, "could not subscribe");
    log_info("subscribed to the primary by slot %s", j->slot);
    return RC_OK;
}

/* A killed join's connection may still hold the lock for a moment. */
static enum rc take_lock(struct join *j, struct err *e)
{
    uint64_t deadline_ms = clock_deadline(LOCK_MS);
    bool is_ours = false;
    while (!is_ours) {
        if (mirror_lock(j->own, &is_ours, e))
            return e->code;
        if (!is_ours && clock_left(deadline_ms) == 0)
            return err_fail(e, RC_EXISTS, "another join or agent is at work on this mirror");
        if (!is_ours)
            clock_sleep_until(clock_deadline(LOOK_MS));
    }
    return RC_OK;
}

/* Shards are made by whoever opens the bucket with the volume's format at hand. */
static enum rc make_bucket(const struct join *j, struct err *e)
{
    const char *path = j->bucket + strlen("file://");
    if (!j->bucket[0] || strchr(path, '%') || mkdir(path, 0700) == 0 || errno == EEXIST)
        return RC_OK;
    return err_os(e, errno, "could not make the bucket \"%s\"", path);
}

/* A new slot begins where every transaction under way has ended: long ones hold it up. */
static enum rc make_slot(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param slot = pg_text(j->slot);
    if (mirror_do(j->primary, "SELECT * FROM tarn_1.slot_drop($1)", j->slot, e))
        return err_note(e, "could not drop the old slot \"%s\" at the primary", j->slot);
    log_info("making slot %s when the primary's transactions under way have ended", j->slot);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.slot_make($1)", &slot, 1, clock_deadline(SLOT_MS),
                &row, e))
        return err_note(e, "could not make slot \"%s\" at the primary", j->slot);
    return RC_OK;
}

static enum rc make_mirror(struct join *j, struct err *e)
{
    char system[32];
    if (make_bucket(j, e) || make_tables(j, e) ||
        meta_install_missing(j->own, clock_deadline(MIRROR_CALL_MS), e) ||
        begin_site(j, system, e) || take_lock(j, e) || register_site(j, system, e))
        return e->code;
    return make_slot(j, e) ? e->code : subscribe(j, e);
}

/* The slot is gone at the primary, so what was copied so far cannot be gone on with. */
static enum rc drop_orphan(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(j->slot);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.slot_of($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    if (!pg_is_null(row, 0, pg_column(row, "active")))
        return RC_OK;
    log_warn("slot %s is gone at the primary; beginning anew", j->slot);
    j->has_subscription = false;
    return mirror_do(j->own, "SELECT * FROM tarn_1.mirror_leave()", NULL, e);
}

/* --------------------------------------------------------------------------------------- follow */

static enum rc stay_connected(struct join *j, struct err *e)
{
    if (mirror_reconnect(&j->own, j->url, NULL, e))
        return err_note(e, "mirror");
    if (mirror_reconnect(&j->primary, j->o->primary, password_of(j->o), e))
        return err_note(e, "primary");
    return RC_OK;
}

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN || rc == RC_TIMEOUT || rc == RC_STALE;
}

/* Say now and then that we are still waiting, and what PostgreSQL has counted against us. */
static enum rc nag(struct join *j, const char *what, uint64_t *due_ms, struct err *e)
{
    if (clock_ms() < *due_ms)
        return RC_OK;
    *due_ms = clock_deadline(NAG_MS);
    auto_facts struct facts f = {0};
    if (facts_read(j->own, &f, e))
        return e->code;
    log_warn("still waiting for %s: %d of %d tables are copied, %" PRId64
             " errors, worker %s; the log of the mirror's PostgreSQL tells more",
             what, f.tables_ready, f.tables_total, f.errors, f.has_worker ? "at work" : "away");
    return RC_OK;
}

static enum rc follow_copy(struct join *j, struct copy_plan *plan, struct progress *bar,
                           struct err *e)
{
    struct copy_sight sight = {0};
    uint64_t nag_ms = clock_deadline(NAG_MS);
    do {
        if (sight.tables_total)
            clock_sleep_until(clock_deadline(LOOK_MS));
        uint64_t before = sight.bytes_done;
        if (stay_connected(j, e) || copy_look(plan, j->own, &sight, e) ||
            nag(j, "the first copy", &nag_ms, e))
            return e->code;
        if (sight.bytes_done != before)
            nag_ms = clock_deadline(NAG_MS);
        progress_set(bar, sight.bytes_done, sight.bytes_total);
        if (sight.tables_total == 0)
            return err_fail(e, RC_INVALID, "subscription \"%s\" follows no table", j->slot);
    } while (sight.tables_ready < sight.tables_total);
    return RC_OK;
}

static enum rc wait_for_marker(struct join *j, struct err *e)
{
    int64_t value = 0;
    bool is_here = false;
    uint64_t nag_ms = clock_deadline(NAG_MS);
    if (follow_copied(j->own, e) || marker_write(j->primary, j->o->name, &value, e))
        return e->code;
    while (!is_here) {
        if (marker_arrived(j->own, j->o->name, value, &is_here, e) ||
            nag(j, "the marker", &nag_ms, e))
            return e->code;
        if (!is_here)
            clock_sleep_until(clock_deadline(LOOK_MS / 10));
    }
    return follow_ready(j->own, e);
}

/* Through restarts of either server: what is missing is looked for anew. */
static enum rc follow(struct join *j, struct err *e)
{
    struct copy_plan *plan = NULL;
    struct progress *bar = progress_open("first copy", 0, true);
    enum rc rc;
    for (;;) {
        rc = stay_connected(j, e);
        if (!rc && !plan)
            rc = copy_plan_make(&plan, j->primary, e);
        if (!rc)
            rc = follow_copy(j, plan, bar, e);
        if (!rc)
            rc = wait_for_marker(j, e);
        if (!is_passing(rc))
            break;
        log_err(LOG_LEVEL_WARN, e, "trying again");
        clock_sleep_until(clock_deadline(1000));
    }
    progress_close(&bar);
    copy_plan_free(&plan);
    return rc;
}

static enum rc carry_out(struct join *j, struct err *e)
{
    if (strcmp(j->target, "mirror") == 0) {
        (void)printf("done     \"%s\" is a mirror already\n", j->o->name);
        return meta_install_missing(j->own, clock_deadline(MIRROR_CALL_MS), e);
    }
    if (j->has_subscription && (take_lock(j, e) || drop_orphan(j, e)))
        return e->code;
    if (!j->has_subscription && make_mirror(j, e))
        return e->code;
    if (follow(j, e))
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
    auto_buf struct buf text;
    buf_init(&text, 1 << 20);
    const char *line;
    if (json_write(found->list, JSON_INDENT, &text, e) || buf_cstr(&text, &line, e))
        return e->code;
    (void)printf("%s\n", line);
    return RC_OK;
}

static int refuse(const struct findings *found)
{
    (void)fprintf(stderr, "tarn-mirror: cannot join: %s%s\n", found->first,
                  found->problems > 1 ? " (and more, see above)" : "");
    if (strcmp(found->topic, "bucket") == 0)
        return EXIT_STORE;
    if (strcmp(found->topic, "primary") == 0)
        return EXIT_NOT_FORMATTED;
    return strcmp(found->topic, "privileges") == 0 ? EXIT_DENIED : EXIT_FAILED;
}

static int run(const struct join_options *o, const char *url)
{
    struct err e = ERR_INIT;
    struct join j = {.o = o, .url = url};
    auto_findings struct findings found = {0};
    enum rc rc = findings_init(&found, &e);
    if (!rc)
        rc = check_options(&j, &e);
    if (!rc)
        rc = check(&j, &found, &e);
    if (!rc)
        rc = show(&found, o->json, &e);
    if (!rc && found.problems == 0 && !o->check)
        rc = carry_out(&j, &e);
    pg_close(&j.own);
    pg_close(&j.primary);
    if (rc)
        return mirror_failed(&e);
    return found.problems ? refuse(&found) : EXIT_DONE;
}

int mirror_join(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct join_options o = {0};
    struct conf_result result;
    if (conf_parse(&command, argc, argv, &o, &result, &e))
        return mirror_failed(&e);
    int code = EXIT_DONE;
    if (result.help_wanted)
        conf_help(&command, stdout);
    else
        code = run(&o, result.arguments[0]);
    conf_release(&result);
    return code;
}
