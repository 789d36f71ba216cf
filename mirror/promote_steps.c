/*
 * The steps of a planned promotion, and those that a promotion by force shares with it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/meta/fence.h"
#include "fs/meta/settings.h"
#include "mirror/conninfo.h"
#include "mirror/mirror.h"
#include "mirror/promote.h"

#define CONNINFO_MAX  8192
#define LOOK_MS       50
#define QUIET_MS      100
#define END_MS        15000 /* until the apply worker has ended, or readers have let go */
#define SLOT_MS       60000
#define FOLLOW_MS     10000 /* until the old primary has shown that it follows */
#define MARK_NAME_MAX (PROMOTE_NAME_MAX + 16)

static const char *public_url(const struct promote *p, struct buf *text, struct err *e)
{
    const char *url = NULL;
    if (conninfo_public(p->o->url ? p->o->url : p->url, text, e) || buf_cstr(text, &url, e))
        return NULL;
    return url;
}

/* --------------------------------------------------------------------------------------- prepare
 */

enum rc promote_begin(struct promote *p, const char *kind, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_text(kind), pg_text(p->old_url[0] ? p->old_url : NULL),
                                      pg_text(p->old_bucket[0] ? p->old_bucket : NULL)};
    if (pg_call(p->own, "SELECT * FROM tarn_1.promotion_begin($1,$2,$3)", params, 3,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not begin the journal");
    pg_result_free(&row);
    if (pg_call(p->own, "SELECT * FROM tarn_1.promotion()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not read the journal");
    (void)snprintf(p->old_site, sizeof(p->old_site), "%s",
                   pg_get_text(row, 0, pg_column(row, "old_site")));
    p->is_open = true;
    return RC_OK;
}

/* What an interrupted promotion has stopped goes on: the last changes have to come. */
static enum rc publish(struct promote *p, struct err *e)
{
    if (mirror_do(p->own, "SELECT tarn_1.promote_publish()", NULL, e) ||
        mirror_do(p->own, "SELECT tarn_1.promote_resume()", NULL, e))
        return err_note(e, "could not publish here");
    return RC_OK;
}

static enum rc prepare(struct promote *p, struct err *e)
{
    auto_buf struct buf secret;
    buf_init(&secret, CONNINFO_MAX);
    const struct promote_options *o = p->o;
    const char *password = o->replication_password && o->replication_password[0]
                               ? o->replication_password
                               : getenv("META_PASSWORD");
    const char *conninfo;
    if (promote_begin(p, "planned", e) || publish(p, e) ||
        conninfo_secret(o->url ? o->url : p->url, password, o->replication_passfile, &secret, e) ||
        buf_cstr(&secret, &conninfo, e))
        return e->code;
    if (mirror_do_hushed(p->old, "SELECT tarn_1.subscribe_ahead($1)", conninfo, e))
        return err_note(e, "\"%s\" could not subscribe to this site (--url says how it gets here)",
                        p->old_site);
    return promote_note(p, "prepare", e, "\"%s\" has reached this site and may follow it",
                        p->old_site);
}

/* ----------------------------------------------------------------------------------------- fence
 */

enum rc promote_fence(struct promote *p, struct err *e)
{
    char why[128];
    (void)snprintf(why, sizeof(why), "\"%s\" is being promoted", p->site);
    /* The journal first: a fence that nobody knows of would stay. */
    if (mirror_do(p->own, "SELECT tarn_1.promotion_fenced()", NULL, e))
        return e->code;
    if (fence_raise(p->old, "FENCED", why, e))
        return err_note(e, "\"%s\"", p->old_site);
    p->is_fenced = true;
    return promote_note(p, "fence", e, "\"%s\" is read-only, and its sessions have ended",
                        p->old_site);
}

/* ----------------------------------------------------------------------------------------- drain
 */

static enum rc write_marker(struct promote *p, const char *name, struct err *e)
{
    const struct pg_param param = pg_text(name);
    char slot[PROMOTE_NAME_MAX + 8];
    (void)snprintf(slot, sizeof(slot), "tarn_%s", p->site);
    const struct pg_param slot_param = pg_text(slot);
    auto_result struct pg_result *mark = NULL, *place = NULL;
    if (pg_call(p->old, "SELECT * FROM tarn_1.mark($1)", &param, 1, clock_deadline(MIRROR_CALL_MS),
                &mark, e) ||
        pg_call(p->old, "SELECT * FROM tarn_1.slot_of($1)", &slot_param, 1,
                clock_deadline(MIRROR_CALL_MS), &place, e))
        return err_note(e, "could not write the marker");
    p->marker = pg_get_int8(mark, 0, 0);
    (void)snprintf(p->marker_lsn, sizeof(p->marker_lsn), "%s",
                   pg_get_text(place, 0, pg_column(place, "current_lsn")));
    const struct pg_param params[] = {pg_int8(p->marker), pg_text(p->marker_lsn)};
    auto_result struct pg_result *row = NULL;
    return pg_call(p->own, "SELECT tarn_1.promotion_marked($1,$2)", params, 2,
                   clock_deadline(MIRROR_CALL_MS), &row, e);
}

static enum rc has_arrived(struct pg *at, const char *name, int64_t value, bool *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(name);
    if (pg_call(at, "SELECT * FROM tarn_1.mark_seen($1)", &param, 1, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not look for the marker");
    *out = pg_rows(row) == 1 && pg_get_int8(row, 0, 0) >= value;
    return RC_OK;
}

static enum rc await(struct pg *at, const char *name, int64_t value, uint64_t deadline_ms,
                     struct err *e)
{
    for (bool is_here = false;;) {
        if (has_arrived(at, name, value, &is_here, e))
            return e->code;
        if (is_here)
            return RC_OK;
        if (clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "the marker has not arrived in time");
        clock_sleep_until(clock_deadline(LOOK_MS));
    }
}

enum rc promote_drain(struct promote *p, uint64_t wait_ms, struct err *e)
{
    char name[MARK_NAME_MAX];
    (void)snprintf(name, sizeof(name), "promote/%s", p->site);
    if (write_marker(p, name, e) || await(p->own, name, p->marker, clock_deadline(wait_ms), e))
        return err_note(e, "could not apply the last changes of \"%s\"", p->old_site);
    return promote_note(p, "drain", e, "everything that \"%s\" has committed is here, up to %s",
                        p->old_site, p->marker_lsn);
}

/* The sites that follow the old primary as we do, and whether they hold the marker, too. */
static enum rc ask_others(struct promote *p, struct pg_result **out, bool *is_waiting,
                          struct err *e)
{
    const struct pg_param lsn = pg_text(p->marker_lsn);
    if (pg_call(p->old, "SELECT * FROM tarn_1.drained($1)", &lsn, 1, clock_deadline(MIRROR_CALL_MS),
                out, e))
        return err_note(e, "could not look at the other mirrors");
    *is_waiting = false;
    for (int i = 0; i < pg_rows(*out); i++)
        if (pg_get_bool(*out, i, pg_column(*out, "is_active")) &&
            !pg_get_bool(*out, i, pg_column(*out, "is_drained")))
            *is_waiting = true;
    return RC_OK;
}

/* Those that are connected are waited for; the others find their changes at the old primary. */
static enum rc drain_others(struct promote *p, struct pg_result **out, uint64_t deadline_ms,
                            struct err *e)
{
    for (bool is_waiting = true;;) {
        pg_result_free(out);
        if (ask_others(p, out, &is_waiting, e))
            return e->code;
        if (!is_waiting || clock_left(deadline_ms) == 0)
            return RC_OK;
        clock_sleep_until(clock_deadline(LOOK_MS));
    }
}

static enum rc drain(struct promote *p, struct err *e)
{
    return promote_drain(p, (uint64_t)p->o->timeout_ms, e);
}

/* ----------------------------------------------------------------------------------------- slots
 */

enum rc promote_pause(struct promote *p, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(END_MS);
    for (;;) {
        auto_result struct pg_result *row = NULL;
        if (pg_call(p->own, "SELECT * FROM tarn_1.promote_pause()", NULL, 0,
                    clock_deadline(MIRROR_CALL_MS), &row, e))
            return err_note(e, "could not stop applying");
        if (!pg_get_bool(row, 0, 0))
            return RC_OK;
        if (clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "the apply worker does not end");
        clock_sleep_until(clock_deadline(QUIET_MS));
    }
}

static enum rc make_slot(struct promote *p, const char *site, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(site);
    if (mirror_do(p->own, "SELECT tarn_1.promotion_slot($1)", site, e) ||
        pg_call(p->own, "SELECT * FROM tarn_1.promote_slot($1)", &name, 1, clock_deadline(SLOT_MS),
                &row, e))
        return err_note(e, "could not make the slot of \"%s\"", site);
    return promote_note(p, "slots", e, "\"%s\" will follow from %s of this site", site,
                        pg_get_text(row, 0, 0));
}

static enum rc make_slots(struct promote *p, struct err *e)
{
    auto_result struct pg_result *others = NULL;
    if (drain_others(p, &others, clock_deadline((uint64_t)p->o->timeout_ms), e) ||
        promote_pause(p, e) || make_slot(p, p->old_site, e))
        return e->code;
    for (int i = 0; i < pg_rows(others); i++) {
        const char *site = pg_get_text(others, i, pg_column(others, "site"));
        if (strcmp(site, p->site) != 0 && make_slot(p, site, e))
            return e->code;
    }
    return RC_OK;
}

/* ---------------------------------------------------------------------------------------- switch
 */

/* A reader that holds a table may have to be waited for more than once. */
static enum rc call_switch(struct promote *p, const struct pg_param params[4],
                           struct pg_result **row, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(END_MS);
    for (;;) {
        *e = ERR_INIT;
        enum rc rc = pg_call(p->own, "SELECT * FROM tarn_1.promote_switch($1,$2,$3,$4)", params, 4,
                             clock_deadline(MIRROR_CALL_MS), row, e);
        if (rc != RC_STALE || clock_left(deadline_ms) == 0)
            return rc;
        clock_sleep_until(clock_deadline(LOOK_MS));
    }
}

enum rc promote_switch(struct promote *p, const char *sustained, struct err *e)
{
    auto_buf struct buf was, is;
    buf_init(&was, SETTINGS_BYTES_MAX);
    buf_init(&is, SETTINGS_BYTES_MAX);
    const char *was_text = NULL, *is_text = NULL;
    if (promote_epoch_above(p, e) || promote_format(p, &was, &is, e) ||
        buf_cstr(&was, &was_text, e) || buf_cstr(&is, &is_text, e))
        return e->code;
    const bool has_format = is.size > 0;
    const struct pg_param params[] = {pg_int8(p->above), pg_text(has_format ? was_text : NULL),
                                      pg_text(has_format ? is_text : NULL), pg_text(sustained)};
    auto_result struct pg_result *row = NULL;
    if (call_switch(p, params, &row, e))
        return err_note(e, "could not switch");
    p->epoch = pg_get_int8(row, 0, 0);
    p->has_switched = true;
    return promote_note(p, "switch", e, "\"%s\" is the primary, epoch %" PRId64, p->site, p->epoch);
}

static enum rc switch_roles(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->old, "SELECT * FROM tarn_1.sustained()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not ask for files that are open and unlinked");
    return promote_switch(p, pg_get_text(row, 0, 0), e);
}

/* ---------------------------------------------------------------------------------------- demote
 */

static enum rc make_mirror(struct promote *p, const char *url, struct err *e)
{
    const bool has_bucket = p->old_bucket[0];
    auto_result struct pg_result *facts = NULL, *row = NULL;
    if (pg_call(p->old, "SELECT * FROM tarn_1.demote_facts()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &facts, e))
        return err_note(e, "could not ask \"%s\" for its bucket", p->old_site);
    /* Where both share a bucket, the old primary goes on to find it where it did. */
    const char *written = pg_get_text(facts, 0, pg_column(facts, "written"));
    const char *override = pg_get_text(facts, 0, pg_column(facts, "override"));
    const struct pg_param params[] = {pg_text(url), pg_text(has_bucket ? written : NULL),
                                      pg_text(has_bucket ? p->o->origin : override)};
    if (pg_call(p->old, "SELECT * FROM tarn_1.demote($1,$2,$3)", params, 3,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not make \"%s\" a mirror", p->old_site);
    return RC_OK;
}

/* It follows when a marker of this site is there. */
static void see_it_follow(struct promote *p)
{
    char name[MARK_NAME_MAX];
    struct err e = ERR_INIT;
    auto_result struct pg_result *mark = NULL;
    (void)snprintf(name, sizeof(name), "promote/%s", p->old_site);
    const struct pg_param param = pg_text(name);
    if (pg_call(p->own, "SELECT * FROM tarn_1.mark($1)", &param, 1, clock_deadline(MIRROR_CALL_MS),
                &mark, &e) ||
        await(p->old, name, pg_get_int8(mark, 0, 0), clock_deadline(FOLLOW_MS), &e))
        log_err(LOG_LEVEL_WARN, &e, "\"%s\" has not shown that it follows yet", p->old_site);
}

static enum rc demote(struct promote *p, struct err *e)
{
    char slot[PROMOTE_NAME_MAX + 8];
    (void)snprintf(slot, sizeof(slot), "tarn_%s", p->site);
    auto_buf struct buf text;
    buf_init(&text, CONNINFO_MAX);
    const char *url = public_url(p, &text, e);
    if (!url || promote_reach_old(p, MIRROR_CONNECT_MS, e) || make_mirror(p, url, e) ||
        mirror_do(p->old, "SELECT * FROM tarn_1.slot_drop($1)", slot, e))
        return err_note(e, "\"%s\" is the primary, but its mirror is unfinished: run this again",
                        p->site);
    see_it_follow(p);
    return promote_note(p, "demote", e, "\"%s\" is a mirror of this site, nothing was copied",
                        p->old_site);
}

/* ---------------------------------------------------------------------------------------- finish
 */

enum rc promote_finish(struct promote *p, struct err *e)
{
    if (mirror_do(p->own, "SELECT * FROM tarn_1.promote_detach()", NULL, e) ||
        mirror_do(p->own, "SELECT tarn_1.promotion_end()", NULL, e))
        return err_note(e, "could not end the promotion");
    p->is_open = false;
    return promote_note(p, "done", e, "\"%s\" is the primary; start: tarn primary run%s", p->site,
                        p->old_bucket[0] ? ", tarn syncer run" : "");
}

static enum rc tell_others(struct promote *p, const char *url, struct err *e)
{
    auto_result struct pg_result *slots = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.slots()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &slots, e))
        return err_note(e, "could not look at the slots");
    for (int i = 0; i < pg_rows(slots); i++) {
        const char *site = pg_get_text(slots, i, pg_column(slots, "site"));
        if (strcmp(site, p->old_site) != 0 &&
            promote_note(p, "next", e, "mirror \"%s\": tarn mirror repoint --primary %s URL-OF-%s",
                         site, url, site))
            return e->code;
    }
    return promote_note(p, "next", e, "at \"%s\": tarn mirror run, tarn syncer run", p->old_site);
}

static enum rc finish(struct promote *p, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, CONNINFO_MAX);
    const char *url = public_url(p, &text, e);
    return url && !promote_finish(p, e) ? tell_others(p, url, e) : e->code;
}

/* --------------------------------------------------------------------------------------- in order
 */

static const struct step {
    const char *name, *next;
    enum rc (*run)(struct promote *p, struct err *e);
    bool is_behind_switch;
} steps[] = {
    {"prepare", "subscribe the primary to this site, without beginning", prepare, false},
    {"fence", "make the primary read-only and end its sessions", promote_fence, false},
    {"drain", "wait until everything is here", drain, false},
    {"slots", "stop applying, and make the slots of those who will follow", make_slots, false},
    {"switch", "make this site the primary; from here on there is no way back", switch_roles,
     false},
    {"mark", "write tarn/epoch into the buckets", promote_mark, true},
    {"demote", "make the old primary a mirror", demote, true},
    {"finish", "drop the old subscription", finish, true},
};

/* Enter goes on; the end of input does not. */
static enum rc ask(const struct promote *p, const struct step *step, struct err *e)
{
    char line[64];
    if (!p->o->is_asking)
        return RC_OK;
    (void)printf("next     %s: %s; Enter goes on\n", step->name, step->next);
    (void)fflush(stdout);
    if (fgets(line, sizeof(line), stdin))
        return RC_OK;
    return err_fail(e, RC_CANCELLED, "stopped before step \"%s\"; run this again, or with --abort",
                    step->name);
}

static enum rc run_steps(struct promote *p, struct err *e)
{
    const bool goes_on = p->has_switched;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (goes_on && !steps[i].is_behind_switch)
            continue;
        if (ask(p, &steps[i], e) || steps[i].run(p, e))
            return e->code;
    }
    return RC_OK;
}

/* Writers have waited long enough: what failed before the switch is undone at once. */
static enum rc give_up(struct promote *p, struct err *e)
{
    struct err undo = ERR_INIT;
    if (p->has_switched || e->code == RC_CANCELLED)
        return e->code;
    if (e->code == RC_UNCERTAIN)
        return err_note(e, "it is not known whether this site has switched: run this again");
    if (promote_abort(p, &undo)) {
        log_err(LOG_LEVEL_ERROR, &undo, "the primary may still be fenced: run this with --abort");
        return e->code;
    }
    return err_note(e, "all is as before");
}

enum rc promote_planned(struct promote *p, struct err *e)
{
    if (p->has_switched && promote_buckets_open(p, e))
        return e->code;
    return run_steps(p, e) ? give_up(p, e) : RC_OK;
}

enum rc promote_abort(struct promote *p, struct err *e)
{
    if (!p->is_open)
        return err_fail(e, RC_INVALID, "there is no promotion to undo");
    if (p->has_switched)
        return err_fail(e, RC_INVALID,
                        "\"%s\" has switched; run it again to the end, then tarn mirror demote",
                        p->site);
    if (promote_reach_old(p, MIRROR_CONNECT_MS, e) ||
        mirror_do(p->old, "SELECT tarn_1.demote_abort()", NULL, e))
        return err_note(e, "could not undo what was done at the primary");
    if (mirror_do(p->own, "SELECT * FROM tarn_1.promotion_abort()", NULL, e))
        return err_note(e, "could not undo what was done here");
    p->is_open = false;
    return promote_note(p, "undone", e, "\"%s\" is the primary as before", p->old_site);
}
