#include "mirror/reseed.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "mirror/mirror.h"
#include "mirror/reseed_impl.h"

#define PAUSE_FIRST_MS 2000
#define PAUSE_MAX_MS   300000

enum rc reseed_open(struct reseed **out, const char *url, const char *password, struct err *e)
{
    struct reseed *r = calloc(1, sizeof(*r));
    if (!r)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    r->url = url;
    r->password = password;
    *out = r;
    return RC_OK;
}

static void let_go(struct reseed *r)
{
    pg_close(&r->copy);
    pg_close(&r->primary);
    home_close(&r->home);
    copy_plan_free(&r->plan);
    r->has_marker = false;
}

void reseed_close(struct reseed **r)
{
    if (!*r)
        return;
    let_go(*r);
    free(*r);
    *r = NULL;
}

/* ---------------------------------------------------------------------------------- the row */

enum rc reseed_read(struct pg *own, struct reseed_row *out, struct err *e)
{
    struct pg_result *row = NULL;
    *out = (struct reseed_row){.row = NULL};
    if (pg_call(own, "SELECT * FROM tarn_1.reseed_row()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not see whether a new copy is wanted");
    *out = (struct reseed_row){
        .row = row,
        .is_wanted = pg_rows(row) > 0,
    };
    if (!out->is_wanted)
        return RC_OK;
    out->keeps_old = pg_get_bool(row, 0, pg_column(row, "keeps_old"));
    out->is_switched = pg_get_bool(row, 0, pg_column(row, "is_switched"));
    out->is_there = pg_get_bool(row, 0, pg_column(row, "is_there"));
    out->is_ours = pg_get_bool(row, 0, pg_column(row, "is_ours"));
    out->old_is_there = pg_get_bool(row, 0, pg_column(row, "old_is_there"));
    out->database = pg_get_text(row, 0, pg_column(row, "database"));
    out->old_database = pg_get_text(row, 0, pg_column(row, "old_database"));
    out->reason = pg_get_text(row, 0, pg_column(row, "reason"));
    out->step = pg_get_text(row, 0, pg_column(row, "step"));
    out->problem = pg_get_text(row, 0, pg_column(row, "problem"));
    out->bytes_done = pg_get_int8(row, 0, pg_column(row, "bytes_done"));
    out->bytes_total = pg_get_int8(row, 0, pg_column(row, "bytes_total"));
    out->tables_done = pg_get_int4(row, 0, pg_column(row, "tables_done"));
    out->tables_total = pg_get_int4(row, 0, pg_column(row, "tables_total"));
    return RC_OK;
}

void reseed_row_deinit(struct reseed_row *row)
{
    pg_result_free(&row->row);
}

enum rc reseed_note(struct pg *own, const char *step, const char *problem, struct err *e)
{
    const struct pg_param params[] = {pg_text(step), pg_text(problem)};
    auto_result struct pg_result *row = NULL;
    return pg_call(own, "SELECT tarn_1.reseed_note($1,$2)", params, 2,
                   clock_deadline(MIRROR_CALL_MS), &row, e);
}

enum rc reseed_want(struct pg *own, const char *reason, bool keeps_old, struct err *e)
{
    const struct pg_param params[] = {pg_text(reason), pg_bool(keeps_old)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT tarn_1.reseed_want($1,$2)", params, 2, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not ask for a new copy");
    return RC_OK;
}

/* ------------------------------------------------------------------------------ databases */

enum rc reseed_connect(const struct reseed *r, const char *database, struct pg **out, struct err *e)
{
    auto_buf struct buf url;
    buf_init(&url, RESEED_URL_MAX);
    const char *text;
    if (url_with_database(r->url, database, &url, e) || buf_cstr(&url, &text, e) ||
        mirror_connect(out, text, NULL, MIRROR_CONNECT_MS, e))
        return err_note(e, "database \"%s\"", database);
    return RC_OK;
}

/* A statement that a function composed, and that no function may carry out. */
static enum rc carry_out(struct pg *pg, const struct pg_result *row, int column, struct err *e)
{
    return pg_script(pg, pg_get_text(row, 0, column), clock_deadline(MIRROR_CALL_MS), e);
}

enum rc reseed_drop(const struct reseed *r, struct pg *own, const char *database, struct err *e)
{
    struct pg *there = NULL;
    auto_result struct pg_result *row = NULL;
    struct err unable = ERR_INIT;
    enum rc rc = reseed_connect(r, database, &there, &unable);
    if (!rc && (mirror_do(there, "SELECT * FROM tarn_1.mirror_leave()", NULL, &unable) ||
                mirror_do(there, "SELECT * FROM tarn_1.slots_end()", NULL, &unable)))
        log_err(LOG_LEVEL_DEBUG, &unable, "no subscription was ended in database %s", database);
    pg_close(&there);
    const struct pg_param name = pg_text(database);
    if (pg_call(own, "SELECT * FROM tarn_1.drop_statement($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e) ||
        carry_out(own, row, 0, e))
        return err_note(e, "could not drop database \"%s\"", database);
    return RC_OK;
}

/* Noted first: a database that is there without its mark is known to be ours by the step. */
static enum rc create(struct pg *own, const struct reseed_row *row, struct err *e)
{
    auto_result struct pg_result *text = NULL;
    if (row->is_there && !row->is_ours)
        return err_fail(e, RC_EXISTS,
                        "database \"%s\" is there already and is not ours: drop or rename it",
                        row->database);
    if (pg_call(own, "SELECT * FROM tarn_1.reseed_create()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &text, e))
        return e->code;
    if (!row->is_there &&
        (reseed_note(own, "making", NULL, e) || carry_out(own, text, pg_column(text, "make"), e)))
        return err_note(e, "could not create database \"%s\"", row->database);
    return carry_out(own, text, pg_column(text, "mark"), e);
}

/* -------------------------------------------------------------------------------- the steps */

/* The new copy serves under the old one's name: let it follow, and end the old one. */
static enum rc finish(struct reseed *r, struct pg *own, const struct reseed_row *row,
                      enum reseed_at *at, struct err *e)
{
    if (mirror_do(own, "SELECT * FROM tarn_1.follow_switch(true)", NULL, e))
        return e->code;
    if (row->old_is_there && !row->keeps_old && reseed_drop(r, own, row->old_database, e))
        return e->code;
    if (mirror_do(own, "SELECT * FROM tarn_1.reseed_end()", NULL, e))
        return e->code;
    if (row->keeps_old)
        log_info("the mirror was copied anew; the old copy is kept as database %s",
                 row->old_database);
    else
        log_info("the mirror was copied anew; the old copy is dropped");
    *at = RESEED_DONE;
    return RC_OK;
}

static enum rc advance(struct reseed *r, struct pg **own, const struct facts *f,
                       const struct reseed_row *row, enum reseed_at *at, struct err *e)
{
    bool is_consistent = false;
    *at = RESEED_WORKING;
    if (row->is_switched)
        return finish(r, *own, row, at, e);
    if (mirror_do(*own, "SELECT * FROM tarn_1.follow_switch(false)", NULL, e))
        return err_note(e, "could not stop the old subscription");
    if (create(*own, row, e) || reseed_copy(r, *own, f, row, &is_consistent, e))
        return e->code;
    if (!is_consistent)
        return RC_OK;
    if (reseed_note(*own, "switching", NULL, e) || reseed_switch(r, own, f, e))
        return e->code;
    let_go(r);
    *at = RESEED_SWITCHED;
    return RC_OK;
}

/* A person has to see it; the connections may be what is wrong, so they are made anew. */
static enum rc postpone(struct reseed *r, struct pg *own, const struct err *why, struct err *e)
{
    r->pause_ms = r->pause_ms ? r->pause_ms * 2 : PAUSE_FIRST_MS;
    if (r->pause_ms > PAUSE_MAX_MS)
        r->pause_ms = PAUSE_MAX_MS;
    r->due_ms = clock_deadline(r->pause_ms);
    log_err(LOG_LEVEL_WARN, why, "the new copy cannot go on now; trying again in %u s",
            (unsigned)(r->pause_ms / 1000));
    let_go(r);
    /* The step that failed may have needed this one to be closed: then the caller comes back. */
    return pg_is_open(own) ? reseed_note(own, NULL, why->text, e) : RC_OK;
}

enum rc reseed_step(struct reseed *r, struct pg **own, const struct facts *f, enum reseed_at *at,
                    struct err *e)
{
    auto_reseed_row struct reseed_row row;
    struct err why = ERR_INIT;
    *at = RESEED_NONE;
    if (reseed_read(*own, &row, e))
        return e->code;
    if (!row.is_wanted)
        return RC_OK;
    *at = RESEED_WORKING;
    if (clock_left(r->due_ms) > 0)
        return RC_OK;
    if (advance(r, own, f, &row, at, &why))
        return postpone(r, *own, &why, e);
    r->pause_ms = 0;
    return RC_OK;
}
