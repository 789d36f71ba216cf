/*
 * audit: plan, walk every table, repair, show. What is shown comes from tarn.audit_finding, so that
 * an audit that was killed and gone on with names everything.
 */
#include "mirror/audit.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "mirror/audit_objects.h"
#include "mirror/audit_show.h"
#include "mirror/facts.h"
#include "mirror/mirror.h"

static const struct conf_option options[] = {
    {.name = "repair",
     .type = CONF_FLAG,
     .help = "copy the rows that differ from the primary; with --objects order copies of blocks",
     .offset = offsetof(struct audit_options, repairs)},
    {.name = "resume",
     .type = CONF_FLAG,
     .help = "go on with the last audit if it did not come to its end; else begin one",
     .offset = offsetof(struct audit_options, resumes)},
    {.name = "pace",
     .type = CONF_INT,
     .unit = "%",
     .default_text = "4",
     .min = 1,
     .max = 100,
     .help = "percent of one core of the primary that may be used; 100: no pauses",
     .offset = offsetof(struct audit_options, pace)},
    {.name = "wait",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 1000,
     .max = 86400000,
     .help = "how far behind the mirror may be before the audit gives up",
     .offset = offsetof(struct audit_options, wait_ms)},
    {.name = "objects",
     .type = CONF_FLAG,
     .help = "compare the bucket of this site with the slices instead of rows with rows",
     .offset = offsetof(struct audit_options, objects)},
    {.name = "origin",
     .type = CONF_FLAG,
     .help = "with --objects: the primary's bucket instead of this site's",
     .offset = offsetof(struct audit_options, at_origin)},
    {.name = "checksum",
     .type = CONF_FLAG,
     .help = "with --objects: read every block and compare its sum",
     .offset = offsetof(struct audit_options, checks_sums)},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 256,
     .help = "with --objects: threads that look at blocks",
     .offset = offsetof(struct audit_options, threads)},
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the primary, instead of what the mirror knows",
     .offset = offsetof(struct audit_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary; give it by the environment",
     .offset = offsetof(struct audit_options, primary_password)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print one JSON object on each line: what was found, then the sums",
     .offset = offsetof(struct audit_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror audit",
    .arguments = "MIRROR-URL",
    .summary = "compare a mirror with its primary, row by row or block by block",
    .details =
        "  tarn mirror audit postgres://owner@db.tokyo/volume\n"
        "  tarn mirror audit postgres://owner@db.tokyo/volume --repair --resume\n"
        "  tarn mirror audit postgres://owner@db.tokyo/volume --objects --checksum\n\n"
        "Clients go on working. Every published table is compared by ranges of its key and by\n"
        "digest, under 5 % of a core of the primary (--pace). Rows that differ are looked at\n"
        "until it is certain that they are not only on their way; those that change at every\n"
        "look are counted as moving. The primary is never written to, but for a marker.\n"
        "Exit codes: 0 equal, 1 failed, 2 wrong command line, 3 a PostgreSQL or bucket does not\n"
        "answer, 4 denied, 5 no mirror there, 6 not consistent yet, or it does not follow,\n"
        "7 bucket missing or another volume's, 8 differences are left, 9 differences were found\n"
        "and all of them repaired.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* ------------------------------------------------------------------------------------- questions
 */

/* So long that the primary was busy with us for `pace` percent of the time. */
static void pause_for(const struct audit *a, int64_t busy_us)
{
    const uint64_t pause_ms =
        (uint64_t)busy_us * (uint64_t)(100 - a->o->pace) / (uint64_t)a->o->pace / 1000;
    if (pause_ms > 0)
        clock_sleep_until(clock_deadline(pause_ms));
}

enum rc audit_ask(struct audit *a, struct pg *at, const char *sql, const struct pg_param *params,
                  int count, struct pg_result **out, struct err *e)
{
    if (pg_call(at, sql, params, count, clock_deadline(MIRROR_CALL_MS), out, e))
        return e->code;
    const int busy = pg_column(*out, "busy_us");
    if (at != a->primary || busy < 0)
        return RC_OK;
    const int64_t busy_us = pg_get_int8(*out, 0, busy);
    a->busy_us += (uint64_t)busy_us;
    pause_for(a, busy_us);
    return RC_OK;
}

enum rc audit_note(struct audit *a, const char *relation, const char *place, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_int8(a->run),    pg_text(relation), pg_text(place),
                                      pg_int4(a->tables), pg_int8(a->items), pg_int8(a->moving)};
    return audit_ask(a, a->own, "SELECT tarn_1.audit_note($1,$2,$3,$4,$5,$6)", params, 6, &row, e);
}

/* ------------------------------------------------------------------------------------- the plan */

static enum rc check_hashes(struct audit *a, struct err *e)
{
    auto_result struct pg_result *ours = NULL, *theirs = NULL;
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_probe()", NULL, 0, &ours, e) ||
        audit_ask(a, a->primary, "SELECT * FROM tarn_1.audit_probe()", NULL, 0, &theirs, e))
        return e->code;
    if (pg_get_int8(ours, 0, 0) == pg_get_int8(theirs, 0, 0))
        return RC_OK;
    return err_fail(e, RC_INVALID,
                    "the machines of the two sites hash differently, so their digests cannot be"
                    " compared");
}

static enum rc make_plan(struct audit *a, struct pg_result **out, struct err *e)
{
    auto_result struct pg_result *tables = NULL;
    if (audit_ask(a, a->primary, "SELECT * FROM tarn_1.audit_tables()", NULL, 0, &tables, e))
        return err_note(e, "could not ask the primary for its tables");
    const struct pg_param text = pg_text(pg_get_text(tables, 0, 0));
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_plan($1)", &text, 1, out, e))
        return err_note(e, "could not compare the tables");
    return RC_OK;
}

static enum rc find_other(struct audit *a, const char *relation, const char *kind, const char *text,
                          struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_int8(a->run), pg_text(relation), pg_text(""),
                                      pg_text(kind), pg_text(text)};
    return audit_ask(a, a->own, "SELECT tarn_1.audit_find_other($1,$2,$3,$4,$5)", params, 5, &row,
                     e);
}

/* What can be said of a table before its rows; *has_rows false: there are none to compare. */
static enum rc check_shape(struct audit *a, const struct pg_result *plan, int i, bool *has_rows,
                           struct err *e)
{
    const char *relation = pg_get_text(plan, i, pg_column(plan, "relation"));
    const char *missing = pg_get_text(plan, i, pg_column(plan, "missing"));
    const char *surplus = pg_get_text(plan, i, pg_column(plan, "surplus"));
    *has_rows = pg_get_bool(plan, i, pg_column(plan, "is_here"));
    if (!*has_rows)
        return find_other(a, relation, "table", "is published and not followed here yet", e);
    if (surplus)
        log_info("%s has columns that only this site knows, and which are not compared: %s",
                 relation, surplus);
    return missing ? find_other(a, relation, "column", missing, e) : RC_OK;
}

/* ---------------------------------------------------------------------------------- the tables */

struct start {
    struct pg_result *row;
    const char *relation, *place; /* where an interrupted audit stood; NULL: at the beginning */
};

static void start_deinit(struct start *s)
{
    pg_result_free(&s->row);
}
#define auto_start __attribute__((cleanup(start_deinit)))

static enum rc begin(struct audit *a, struct start *s, struct err *e)
{
    const struct pg_param params[] = {pg_text(a->o->objects ? "objects" : "rows"),
                                      pg_bool(a->o->resumes)};
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_begin($1,$2)", params, 2, &s->row, e))
        return err_note(e, "could not begin");
    if (!pg_get_bool(s->row, 0, pg_column(s->row, "is_ours")))
        return err_fail(e, RC_EXISTS, "another audit of this mirror is running");
    a->run = pg_get_int8(s->row, 0, pg_column(s->row, "run"));
    a->tables = pg_get_int4(s->row, 0, pg_column(s->row, "tables"));
    a->items = pg_get_int8(s->row, 0, pg_column(s->row, "items"));
    a->moving = pg_get_int8(s->row, 0, pg_column(s->row, "moving"));
    s->relation = pg_get_text(s->row, 0, pg_column(s->row, "relation"));
    s->place = pg_get_text(s->row, 0, pg_column(s->row, "place"));
    (void)snprintf(a->marker, sizeof(a->marker), "audit/%s",
                   pg_get_text(s->row, 0, pg_column(s->row, "site")));
    return RC_OK;
}

static enum rc compare_table(struct audit *a, const struct pg_result *plan, int i,
                             const struct start *s, struct err *e)
{
    const struct audit_table table = {pg_get_text(plan, i, pg_column(plan, "relation")),
                                      pg_get_text(plan, i, pg_column(plan, "table_text"))};
    const int order = s->relation ? strcmp(table.relation, s->relation) : 1;
    bool has_rows = false;
    if (order < 0)
        return RC_OK;
    if (check_shape(a, plan, i, &has_rows, e))
        return e->code;
    if (has_rows && audit_walk(a, &table, order == 0 ? s->place : NULL, e))
        return e->code;
    a->tables++;
    /* The next one's turn, from its beginning. */
    const char *next =
        i + 1 < pg_rows(plan) ? pg_get_text(plan, i + 1, pg_column(plan, "relation")) : "~";
    return audit_note(a, next, NULL, e);
}

static enum rc repair_all(struct audit *a, const struct pg_result *plan, struct err *e)
{
    for (int i = 0; i < pg_rows(plan); i++) {
        const struct audit_table table = {pg_get_text(plan, i, pg_column(plan, "relation")),
                                          pg_get_text(plan, i, pg_column(plan, "table_text"))};
        if (pg_get_bool(plan, i, pg_column(plan, "is_here")) && audit_repair(a, &table, e))
            return e->code;
    }
    return RC_OK;
}

static uint64_t estimate(const struct pg_result *plan)
{
    uint64_t rows = 0;
    for (int i = 0; i < pg_rows(plan); i++)
        rows += (uint64_t)pg_get_int8(plan, i, pg_column(plan, "estimate"));
    return rows;
}

static enum rc compare_rows(struct audit *a, const struct start *s, struct err *e)
{
    auto_result struct pg_result *plan = NULL;
    if (check_hashes(a, e) || make_plan(a, &plan, e))
        return e->code;
    a->expected = estimate(plan);
    a->progress = progress_open("comparing rows", a->expected, false);
    enum rc rc = RC_OK;
    for (int i = 0; i < pg_rows(plan) && rc == RC_OK; i++)
        rc = compare_table(a, plan, i, s, e);
    progress_close(&a->progress);
    if (rc == RC_OK && a->o->repairs)
        rc = repair_all(a, plan, e);
    return rc;
}

static enum rc carry_out(struct audit *a, const struct start *s, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    enum rc rc = a->o->objects ? audit_objects(a, e) : compare_rows(a, s, e);
    if (rc)
        return rc;
    const struct pg_param run = pg_int8(a->run);
    if (audit_ask(a, a->own, "SELECT tarn_1.audit_end($1)", &run, 1, &row, e))
        return e->code;
    return audit_show(a, e);
}

/* ------------------------------------------------------------------------------------ the command
 */

/* Before its marker a mirror is a half of a copy; what is LOST has lost rows, and is compared. */
static enum rc check_state(const struct facts *f, struct err *e)
{
    if (f->is_ready && f->has_subscription)
        return RC_OK;
    err_fail(e, RC_INVALID, "this mirror is %s: there is nothing yet to compare", f->state);
    return err_exits(e, EXIT_NOT_READY);
}

/* A line that broke says less about what to do than this. */
static enum rc explain(const struct audit *a, struct err *e)
{
    const bool own = pg_is_open(a->own), primary = !a->primary || pg_is_open(a->primary);
    if (own && primary)
        return e->code;
    err_note(e, "the PostgreSQL of %s went away; --resume goes on where this audit was",
             own ? "the primary" : "this mirror");
    return err_exits(e, EXIT_UNREACHABLE);
}

static enum rc audit(struct audit *a, struct err *e)
{
    auto_facts struct facts f = {0};
    auto_start struct start s = {.row = NULL};
    if (facts_read(a->own, &f, e) || check_state(&f, e) ||
        mirror_connect_home(a->own, a->o->primary, a->o->primary_password, MIRROR_CONNECT_MS,
                            &a->primary, e) ||
        begin(a, &s, e))
        return e->code;
    return carry_out(a, &s, e) ? explain(a, e) : RC_OK;
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct audit a = {.o = into, .url = arguments[0]};
    enum rc rc = mirror_connect(&a.own, a.url, NULL, MIRROR_CONNECT_MS, e);
    if (!rc)
        rc = audit(&a, e);
    pg_close(&a.primary);
    pg_close(&a.own);
    return rc;
}

int mirror_audit(int argc, char **argv)
{
    struct audit_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
