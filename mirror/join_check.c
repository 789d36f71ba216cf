#include "mirror/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "mirror/mirror.h"

#define CLOCK_DIFFERENCE_MAX_MS 1000

enum rc join_connect(struct join *j, struct err *e)
{
    const struct join_options *o = j->o;
    if (mirror_reconnect(&j->own, j->url, NULL, e))
        return err_note(e, "mirror");
    if (mirror_reconnect(&j->primary, j->followed, j->password, e))
        return err_note(e, "%s", o->source ? "source" : "primary");
    const char *password =
        o->primary_password && o->primary_password[0] ? o->primary_password : NULL;
    if (o->source && mirror_reconnect(&j->home, o->primary, password, e))
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

/* The clocks were read one after the other, which took took_ms. */
static enum rc compare_clocks(int64_t own_us, int64_t primary_us, uint64_t took_ms,
                              struct findings *found, struct err *e)
{
    int64_t difference_ms = (own_us - primary_us) / 1000;
    if (difference_ms < 0)
        difference_ms = -difference_ms;
    difference_ms -= (int64_t)took_ms;
    if (difference_ms <= CLOCK_DIFFERENCE_MAX_MS)
        return findings_add(found, FINDING_OK, "clock", NULL, e,
                            "the clocks of both servers agree");
    return findings_add(found, FINDING_ADVICE, "clock", "run an NTP client on both servers", e,
                        "the clocks of both servers differ by %" PRId64
                        " ms: lag in seconds will be wrong by as much",
                        difference_ms);
}

static enum rc read_shards(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(j->primary, "SELECT * FROM tarn_1.shards()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask the primary for the volume's shards");
    j->shards = pg_rows(row) == 1 ? (unsigned)pg_get_int4(row, 0, 0) : 0;
    return RC_OK;
}

/* A server that has functions of ours, but not for this role. */
static enum rc refuse_role(struct findings *found, struct err *e)
{
    return findings_add(found, FINDING_PROBLEM, "privileges",
                        "at the primary: GRANT USAGE ON SCHEMA public, tarn, tarn_1 TO ROLE; GRANT "
                        "SELECT ON ALL TABLES IN SCHEMA public, tarn TO ROLE;",
                        e, "the role may not use Tarn's functions at the primary");
}

static enum rc refuse_version(struct findings *found, struct err *e)
{
    return findings_add(found, FINDING_PROBLEM, "primary", "tarn primary adopt PRIMARY-URL", e,
                        "the database at the primary has not been adopted by this version");
}

/* Whether the source, a mirror, and the primary are of one volume. */
static enum rc check_home(struct join *j, struct findings *found, struct err *e)
{
    auto_result struct pg_result *here = NULL;
    auto_result struct pg_result *home = NULL;
    if (!j->home)
        return RC_OK;
    if (pg_call(j->primary, "SELECT * FROM tarn_1.volume_uuid()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &here, e) ||
        pg_call(j->home, "SELECT * FROM tarn_1.volume_uuid()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &home, e))
        return err_note(e, "could not compare the volumes of source and primary");
    const char *own = pg_get_text(here, 0, 0), *theirs = pg_get_text(home, 0, 0);
    if (!own || !theirs || strcmp(own, theirs) != 0)
        return findings_add(found, FINDING_PROBLEM, "primary", "give the primary of the source", e,
                            "the source is of another volume than the primary");
    if (!pg_get_bool(home, 0, 1))
        return findings_add(found, FINDING_PROBLEM, "primary", "give the primary as --primary", e,
                            "the database given as primary is a mirror");
    return findings_add(found, FINDING_OK, "source", NULL, e,
                        "another mirror is followed; writes go to the primary");
}

/* Encoding, version and columns of both servers beside each other. */
static enum rc compare_servers(struct join *j, struct findings *found, struct err *e)
{
    auto_result struct pg_result *facts = NULL;
    auto_result struct pg_result *columns = NULL;
    if (pg_call(j->primary, "SELECT * FROM tarn_1.server_facts()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &facts, e) ||
        pg_call(j->primary, "SELECT * FROM tarn_1.published_columns()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &columns, e))
        return err_note(e, "could not ask the primary what it is");
    const struct pg_param server[] = {pg_text(pg_get_text(facts, 0, pg_column(facts, "encoding"))),
                                      pg_int4(pg_get_int4(facts, 0, pg_column(facts, "version")))};
    const struct pg_param tables = pg_text(pg_get_text(columns, 0, 0));
    if (findings_ask(found, j->own, "SELECT * FROM pg_temp.server_difference($1,$2)", server, 2,
                     clock_deadline(MIRROR_CALL_MS), e) ||
        findings_ask(found, j->own, "SELECT * FROM pg_temp.column_findings($1)", &tables, 1,
                     clock_deadline(MIRROR_CALL_MS), e))
        return e->code;
    return join_check_disk(j, pg_get_int8(facts, 0, pg_column(facts, "bytes")), found, e);
}

static enum rc check_primary(struct join *j, struct findings *found, struct err *e)
{
    char here[32], there[32];
    int64_t own_us = 0, primary_us = 0;
    if (read_clock(j->own, "SELECT * FROM pg_temp.clock()", &own_us, here, e))
        return e->code;
    uint64_t asked_us = clock_us();
    enum rc rc = read_clock(j->primary, "SELECT * FROM tarn_1.clock()", &primary_us, there, e);
    if (rc == RC_NOT_FOUND)
        return refuse_version(found, e);
    if (rc == RC_DENIED)
        return refuse_role(found, e);
    if (rc)
        return err_note(e, "primary");
    if (compare_clocks(own_us, primary_us, (clock_us() - asked_us) / 1000, found, e))
        return e->code;
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(here), pg_int4(j->copy_workers),
                                      pg_bool(!j->o->source)};
    rc = findings_ask(found, j->primary, "SELECT * FROM tarn_1.join_findings($1,$2,$3,$4)", params,
                      4, clock_deadline(MIRROR_CALL_MS), e);
    if (rc == RC_NOT_FOUND)
        return refuse_version(found, e);
    if (rc == RC_DENIED)
        return refuse_role(found, e);
    if (rc || found->problems > 0)
        return rc;
    if (read_shards(j, e) || check_home(j, found, e))
        return e->code;
    return compare_servers(j, found, e);
}

static enum rc read_target(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(j->slot);
    if (pg_call(j->own,
                "SELECT pg_temp.target_state(), pg_temp.has_subscription($1),"
                " pg_temp.may_subscribe(), pg_temp.copy_workers()",
                &name, 1, clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look at the target database");
    (void)snprintf(j->target, sizeof(j->target), "%s", pg_get_text(row, 0, 0));
    j->has_subscription = pg_get_bool(row, 0, 1);
    j->may_subscribe = pg_get_bool(row, 0, 2);
    j->copy_workers = pg_get_int4(row, 0, 3);
    return RC_OK;
}

enum rc join_check(struct join *j, struct findings *found, struct err *e)
{
    const struct pg_param name = pg_text(j->o->name);
    if (findings_prepare(j->own, clock_deadline(MIRROR_CALL_MS), e) || read_target(j, e) ||
        findings_ask(found, j->own, "SELECT * FROM pg_temp.join_findings($1)", &name, 1,
                     clock_deadline(MIRROR_CALL_MS), e) ||
        check_primary(j, found, e))
        return e->code;
    return join_check_bucket(j, found, e);
}
