#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/join.h"
#include "mirror/mirror.h"
#include "mirror/reseed_impl.h"

/* As the subscription does, or, when that is gone, by the URL that the site remembers. */
static enum rc primary_conninfo(struct pg *own, const struct facts *f, struct pg_result **row,
                                const char **out, struct err *e)
{
    if (pg_call(own, "SELECT * FROM tarn_1.conninfo()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                row, e))
        return e->code;
    *out = pg_rows(*row) ? pg_get_text(*row, 0, 0) : f->primary_url;
    return *out ? RC_OK : err_fail(e, RC_NOT_FOUND, "nothing says where the primary is");
}

static enum rc read_shards(struct reseed *r, unsigned *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(r->primary, "SELECT * FROM tarn_1.shards()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask the primary for the volume's shards");
    *out = pg_rows(row) == 1 ? (unsigned)pg_get_int4(row, 0, 0) : 0;
    return RC_OK;
}

/* A superuser who subscribes by hand is not waited for: the old copy serves, and says what is
 * wrong. */
static enum rc check_role(struct reseed *r, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (findings_prepare(r->copy, clock_deadline(MIRROR_CALL_MS), e) ||
        pg_call(r->copy, "SELECT pg_temp.may_subscribe()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return e->code;
    if (!pg_get_bool(row, 0, 0))
        return err_fail(e, RC_DENIED,
                        "this role may not subscribe: run tarn mirror reseed as a superuser");
    return RC_OK;
}

static void fill_join(struct join *j, const struct facts *f)
{
    (void)snprintf(j->slot, sizeof(j->slot), "tarn_%s", f->name);
    (void)snprintf(j->bucket, sizeof(j->bucket), "%s", f->local_bucket ? f->local_bucket : "");
    (void)snprintf(j->origin, sizeof(j->origin), "%s", f->origin_bucket ? f->origin_bucket : "");
}

/* The same steps as of a join, under the name that this site has at the primary already. */
static enum rc make(struct reseed *r, struct pg *own, const struct facts *f, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const char *conninfo;
    if (primary_conninfo(own, f, &row, &conninfo, e))
        return e->code;
    const struct join_options o = {.primary = f->source_url ? f->primary_url : conninfo,
                                   .source = f->source_url ? conninfo : NULL,
                                   .name = f->name};
    struct join j = {.o = &o, .url = r->url, .password = r->password, .may_subscribe = true};
    fill_join(&j, f);
    (void)snprintf(j.followed, sizeof(j.followed), "%s", conninfo);
    if (read_shards(r, &j.shards, e) || check_role(r, e))
        return e->code;
    if (f->source_url && !home_reach(&r->home, own, r->primary, f))
        return err_fail(e, RC_UNAVAILABLE, "the primary cannot be reached");
    log_info("copying the mirror anew");
    j.own = take_pointer(&r->copy);
    j.primary = take_pointer(&r->primary);
    j.home = r->home.pg;
    enum rc rc = join_make(&j, e);
    r->copy = j.own;
    r->primary = j.primary;
    return rc;
}

/* What was begun is of no use when its slot is gone, or it is lost itself. */
static bool is_stillborn(struct reseed *r, const struct facts *copy)
{
    struct facts_primary said;
    if (mirror_state_parse(copy->state) == MIRROR_LOST)
        return true;
    if (!copy->has_subscription)
        return false; /* made anew, from where it stopped */
    facts_ask_primary(r->primary, copy->subscription, &said);
    return said.is_reached && (!said.has_slot || strcmp(said.wal_status, "lost") == 0);
}

static enum rc note_progress(struct pg *own, const struct copy_sight *sight, struct err *e)
{
    const struct pg_param params[] = {pg_int8((int64_t)sight->bytes_done),
                                      pg_int8((int64_t)sight->bytes_total),
                                      pg_int4(sight->tables_ready), pg_int4(sight->tables_total)};
    auto_result struct pg_result *row = NULL;
    return pg_call(own, "SELECT tarn_1.reseed_progress($1,$2,$3,$4)", params, 4,
                   clock_deadline(MIRROR_CALL_MS), &row, e);
}

/* Everything is copied: a marker made after that has to arrive, even when an older one has. */
static enum rc await_marker(struct reseed *r, struct pg *own, const struct facts *copy,
                            bool *is_here, struct err *e)
{
    if (!r->has_marker) {
        struct pg *home = home_reach(&r->home, own, r->primary, copy);
        if (!home)
            return err_fail(e, RC_UNAVAILABLE, "the primary cannot be reached");
        if (follow_copied(r->copy, e) || marker_write(home, copy->name, &r->marker, e))
            return e->code;
        r->has_marker = true;
    }
    if (marker_arrived(r->copy, copy->name, r->marker, is_here, e))
        return e->code;
    return *is_here && !copy->is_ready ? follow_ready(r->copy, e) : RC_OK;
}

static enum rc follow(struct reseed *r, struct pg *own, const struct facts *copy,
                      bool *is_consistent, struct err *e)
{
    struct copy_sight sight = {0};
    /* It was stopped for a switch that failed, perhaps. */
    if (mirror_do(r->copy, "SELECT * FROM tarn_1.follow_switch(true)", NULL, e) ||
        (!r->plan && copy_plan_make(&r->plan, r->primary, e)) ||
        copy_look(r->plan, r->copy, &sight, e) || note_progress(own, &sight, e))
        return e->code;
    if (sight.tables_total == 0)
        return err_fail(e, RC_INVALID, "the new copy follows no table");
    if (sight.tables_ready < sight.tables_total)
        return RC_OK;
    return await_marker(r, own, copy, is_consistent, e);
}

static enum rc connect_all(struct reseed *r, struct pg *own, const struct facts *f,
                           const struct reseed_row *row, struct err *e)
{
    if (r->primary && !pg_is_open(r->primary))
        pg_close(&r->primary);
    if (r->copy && !pg_is_open(r->copy))
        pg_close(&r->copy);
    auto_result struct pg_result *text = NULL;
    const char *conninfo;
    if (!r->primary && (primary_conninfo(own, f, &text, &conninfo, e) ||
                        mirror_connect(&r->primary, conninfo, r->password, MIRROR_CONNECT_MS, e)))
        return err_note(e, "primary");
    return r->copy ? RC_OK : reseed_connect(r, row->database, &r->copy, e);
}

enum rc reseed_copy(struct reseed *r, struct pg *own, const struct facts *f,
                    const struct reseed_row *row, bool *is_consistent, struct err *e)
{
    auto_facts struct facts copy = {0};
    struct err unmade = ERR_INIT;
    if (connect_all(r, own, f, row, e))
        return e->code;
    enum rc rc = facts_read(r->copy, &copy, &unmade);
    if (rc && rc != RC_NOT_FOUND) {
        *e = unmade;
        return rc;
    }
    if (!rc && is_stillborn(r, &copy)) {
        pg_close(&r->copy);
        log_warn("the new copy has lost its slot before it was whole; beginning anew");
        return reseed_drop(r, own, row->database, e);
    }
    if (rc || !copy.has_subscription)
        return make(r, own, f, e);
    return follow(r, own, &copy, is_consistent, e);
}
