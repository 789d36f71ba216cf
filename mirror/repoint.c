/*
 * repoint: a mirror follows another primary after a planned promotion. The old primary holds what
 * the mirror has not applied yet, up to the marker; the new one has made a slot that begins behind
 * it. So the mirror comes to the marker first, and then changes over: nothing is copied.
 */
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "mirror/conninfo.h"
#include "mirror/mirror.h"

#define CONNINFO_MAX 8192
#define LOOK_MS      100
#define SITE_BYTES   64

struct repoint_options {
    const char *primary, *primary_password, *primary_passfile, *origin;
    int64_t timeout_ms;
};

static const struct conf_option options[] = {
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the new primary, as the mirror's PostgreSQL reaches it",
     .offset = offsetof(struct repoint_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary, when the URL has none; give it by the environment",
     .offset = offsetof(struct repoint_options, primary_password)},
    {.name = "primary-passfile",
     .type = CONF_STRING,
     .help = "passfile that the mirror's PostgreSQL can read; then no password is stored",
     .offset = offsetof(struct repoint_options, primary_passfile)},
    {.name = "origin",
     .type = CONF_STRING,
     .help = "where this site finds the new primary's bucket, instead of what the volume says",
     .offset = offsetof(struct repoint_options, origin)},
    {.name = "timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 1000,
     .max = 86400000,
     .help = "how long to wait for the last changes of the old primary",
     .offset = offsetof(struct repoint_options, timeout_ms)},
};

static const struct conf_command command = {
    .name = "tarn mirror repoint",
    .arguments = "MIRROR-URL",
    .summary = "make a mirror follow the primary that another mirror has become",
    .details =
        "  tarn mirror repoint --primary postgres://repl@db.tokyo/volume \\\n"
        "      postgres://owner@db.berlin/volume\n\n"
        "After a planned promotion. Stop the mirror's agent meanwhile; readers go on. Nothing is\n"
        "copied; the old primary, now a mirror, must still\n"
        "be there if this mirror has not applied all of it. Repeating it changes nothing.\n"
        "Passwords: META_PASSWORD for both servers, TARN_PRIMARY_PASSWORD for the primary.\n"
        "Exit codes: 0 it follows, 1 it cannot, 3 unreachable, 4 denied, 5 no mirror there.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct repoint {
    const struct repoint_options *o;
    struct pg *own, *fresh, *old;
    char site[SITE_BYTES], new_site[SITE_BYTES], old_site[SITE_BYTES], slot[SITE_BYTES + 8];
    char old_bucket[PATH_MAX], own_origin[PATH_MAX];
    int64_t marker;
};

static void keep(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text ? text : "");
}

static enum rc read_own(struct repoint *r, bool *is_done, struct err *e)
{
    auto_result struct pg_result *row = NULL, *shown = NULL;
    auto_buf struct buf text;
    buf_init(&text, CONNINFO_MAX);
    const char *url;
    if (pg_call(r->own, "SELECT * FROM tarn_1.mirror_facts()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e) ||
        conninfo_public(r->o->primary, &text, e) || buf_cstr(&text, &url, e))
        return e->code;
    const char *role = pg_rows(row) ? pg_get_text(row, 0, pg_column(row, "role")) : NULL;
    if (!role || strcmp(role, "mirror") != 0) {
        err_fail(e, RC_NOT_FOUND, "this database is no mirror");
        return err_exits(e, EXIT_NOT_FORMATTED);
    }
    const char *follows = pg_get_text(row, 0, pg_column(row, "primary_url"));
    keep(r->site, sizeof(r->site), pg_get_text(row, 0, pg_column(row, "name")));
    keep(r->slot, sizeof(r->slot), pg_get_text(row, 0, pg_column(row, "subscription")));
    keep(r->own_origin, sizeof(r->own_origin),
         pg_get_text(row, 0, pg_column(row, "origin_bucket")));
    *is_done = follows && strcmp(follows, url) == 0;
    return RC_OK;
}

static enum rc read_new(struct repoint *r, struct err *e)
{
    auto_result struct pg_result *site = NULL, *job = NULL, *slot = NULL;
    const struct pg_param name = pg_text(r->slot);
    if (pg_call(r->fresh, "SELECT * FROM tarn_1.volume()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &site, e) ||
        pg_call(r->fresh, "SELECT * FROM tarn_1.promotion()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &job, e) ||
        pg_call(r->fresh, "SELECT * FROM tarn_1.slot_of($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &slot, e))
        return err_note(e, "could not ask the new primary");
    const bool is_planned = pg_rows(job) == 1 &&
                            strcmp(pg_get_text(job, 0, pg_column(job, "kind")), "planned") == 0 &&
                            pg_get_bool(job, 0, pg_column(job, "has_switched"));
    if (!is_planned)
        return err_fail(e, RC_INVALID,
                        "the new primary has not been promoted as planned: seed this mirror anew");
    if (pg_is_null(slot, 0, pg_column(slot, "active")))
        return err_fail(e, RC_INVALID,
                        "the new primary keeps no slot \"%s\": seed this mirror anew", r->slot);
    keep(r->new_site, sizeof(r->new_site), pg_get_text(site, 0, pg_column(site, "site")));
    keep(r->old_site, sizeof(r->old_site), pg_get_text(job, 0, pg_column(job, "old_site")));
    keep(r->old_bucket, sizeof(r->old_bucket), pg_get_text(job, 0, pg_column(job, "old_bucket")));
    r->marker = pg_get_int8(job, 0, pg_column(job, "marker"));
    return RC_OK;
}

static enum rc change_over(struct repoint *r, bool *is_done, struct err *e)
{
    const struct repoint_options *o = r->o;
    const char *password = o->primary_password && o->primary_password[0] ? o->primary_password
                                                                         : getenv("META_PASSWORD");
    auto_buf struct buf secret, shown;
    buf_init(&secret, CONNINFO_MAX);
    buf_init(&shown, CONNINFO_MAX);
    const char *conninfo, *url;
    if (conninfo_secret(o->primary, password, o->primary_passfile, &secret, e) ||
        buf_cstr(&secret, &conninfo, e) || conninfo_public(o->primary, &shown, e) ||
        buf_cstr(&shown, &url, e))
        return e->code;
    /* The old bucket is read while blocks are missing in the new one, from where it was found. */
    const char *former = r->own_origin[0] ? r->own_origin : r->old_bucket;
    const bool is_same = !r->old_bucket[0];
    const struct pg_param params[] = {pg_text(conninfo),
                                      pg_text(url),
                                      pg_text(r->old_site),
                                      pg_text(r->new_site),
                                      pg_int8(r->marker),
                                      pg_text(o->origin                     ? o->origin
                                              : is_same && r->own_origin[0] ? r->own_origin
                                                                            : NULL),
                                      pg_text(is_same ? NULL : former)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(r->own, "SELECT * FROM tarn_1.repoint($1,$2,$3,$4,$5,$6,$7)", params, 7,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not change over");
    *is_done = pg_get_bool(row, 0, 0);
    return RC_OK;
}

static enum rc wait_and_change(struct repoint *r, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline((uint64_t)r->o->timeout_ms);
    for (bool is_done = false;;) {
        if (change_over(r, &is_done, e))
            return e->code;
        if (is_done)
            return RC_OK;
        if (clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT,
                            "the last changes of \"%s\" have not arrived; tarn mirror status says "
                            "why",
                            r->old_site);
        clock_sleep_until(clock_deadline(LOOK_MS));
    }
}

/* A slot that stays behind keeps WAL until that server's disk is full. */
static enum rc drop_old_slot(struct repoint *r, struct err *e)
{
    if (r->old && !mirror_do(r->old, "SELECT * FROM tarn_1.slot_drop($1)", r->slot, e))
        return RC_OK;
    if (r->old)
        log_err(LOG_LEVEL_WARN, e, "the slot at \"%s\" is still there", r->old_site);
    (void)printf("left     at \"%s\": SELECT pg_drop_replication_slot('%s');\n", r->old_site,
                 r->slot);
    return RC_OK;
}

static enum rc repoint(struct repoint *r, const char *url, struct err *e)
{
    bool is_done = false;
    struct err away = ERR_INIT;
    if (mirror_connect(&r->own, url, NULL, MIRROR_CONNECT_MS, e))
        return err_note(e, "mirror");
    if (read_own(r, &is_done, e))
        return e->code;
    if (is_done) {
        (void)printf("done     \"%s\" follows that primary already\n", r->site);
        return RC_OK;
    }
    /* It would ask the old primary for a slot that is about to go, and call this mirror LOST. */
    bool is_ours = false;
    if (mirror_lock(r->own, &is_ours, e))
        return e->code;
    if (!is_ours)
        return err_fail(e, RC_EXISTS, "the agent of \"%s\" is running; stop it first", r->site);
    if (mirror_connect(&r->fresh, r->o->primary, r->o->primary_password, MIRROR_CONNECT_MS, e))
        return err_note(e, "new primary");
    if (mirror_connect_primary(r->own, &r->old, MIRROR_CONNECT_MS, &away))
        log_err(LOG_LEVEL_WARN, &away, "the old primary cannot be reached");
    if (read_new(r, e) || wait_and_change(r, e))
        return e->code;
    (void)printf("done     \"%s\" follows \"%s\", nothing was copied\n", r->site, r->new_site);
    return drop_old_slot(r, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct repoint r = {.o = into};
    if (!r.o->primary)
        return err_fail(e, RC_INVALID, "option --primary is missing");
    enum rc rc = repoint(&r, arguments[0], e);
    pg_close(&r.old);
    pg_close(&r.fresh);
    pg_close(&r.own);
    return rc;
}

int mirror_repoint(int argc, char **argv)
{
    struct repoint_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
