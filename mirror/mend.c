#include "mirror/mend.h"

#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

/* What own answers to what primary says: both one text. */
static enum rc compare(struct pg *own, const char *question, struct pg *primary,
                       const char *statement, struct pg_result **out, struct err *e)
{
    auto_result struct pg_result *said = NULL;
    if (pg_call(primary, statement, NULL, 0, clock_deadline(MIRROR_ASK_MS), &said, e))
        return err_note(e, "could not ask the primary for its tables");
    const struct pg_param text = pg_text(pg_get_text(said, 0, 0));
    return pg_call(own, question, &text, 1, clock_deadline(MIRROR_CALL_MS), out, e);
}

static void tell_change(const struct pg_result *changes, int i)
{
    const char *kind = pg_get_text(changes, i, pg_column(changes, "kind"));
    const char *relation = pg_get_text(changes, i, pg_column(changes, "relation"));
    const char *name = pg_get_text(changes, i, pg_column(changes, "name"));
    const char *problem = pg_get_text(changes, i, pg_column(changes, "problem"));
    if (strcmp(kind, "person") == 0)
        log_error("column %s of %s differs from the primary's, and a person has to see to it (tarn "
                  "mirror status has the statement): %s",
                  name, relation, problem ? problem : "");
    else if (strcmp(kind, "add") == 0)
        log_warn("column %s of %s was added at the primary and is added here: apply goes on", name,
                 relation);
    else if (strcmp(kind, "widen") == 0)
        log_warn("column %s of %s was widened at the primary and is widened here", name, relation);
    else
        log_warn("column %s of %s is not at the primary any more and need not be filled here", name,
                 relation);
}

enum rc mend_columns(struct pg *own, struct pg *primary, struct err *e)
{
    auto_result struct pg_result *changes = NULL;
    if (compare(own, "SELECT * FROM tarn_1.mend_columns($1)", primary,
                "SELECT * FROM tarn_1.published_columns()", &changes, e))
        return err_note(e, "could not bring the columns here into the primary's shape");
    for (int i = 0; i < pg_rows(changes); i++)
        tell_change(changes, i);
    return RC_OK;
}

static enum rc make_table(struct pg *own, struct pg *primary, const char *relation, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param only = pg_text(relation);
    if (pg_call(primary, "SELECT * FROM tarn_1.volume_ddl($1)", &only, 1,
                clock_deadline(MIRROR_ASK_MS), &row, e))
        return err_note(e, "could not ask the primary for table %s", relation);
    const char *ddl = pg_get_text(row, 0, 0);
    if (!ddl)
        return err_fail(e, RC_NOT_FOUND,
                        "table %s is of a newer version: install it here and join again", relation);
    if (pg_script(own, ddl, clock_deadline(MIRROR_CALL_MS), e))
        return err_note(e, "could not make table %s", relation);
    return RC_OK;
}

/* Anew from the publication; only what is in it and not yet followed is copied. */
static enum rc refresh(struct pg *own, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.refresh_statement()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e) ||
        pg_script(own, pg_get_text(row, 0, 0), clock_deadline(MIRROR_CALL_MS), e))
        return err_note(e, "could not refresh the subscription");
    return RC_OK;
}

enum rc mend_tables(struct pg *own, struct pg *primary, struct err *e)
{
    auto_result struct pg_result *tables = NULL;
    if (compare(own, "SELECT * FROM tarn_1.tables_unfollowed($1)", primary,
                "SELECT * FROM tarn_1.published_names()", &tables, e))
        return err_note(e, "could not compare the tables");
    for (int i = 0; i < pg_rows(tables); i++) {
        const char *relation = pg_get_text(tables, i, pg_column(tables, "relation"));
        if (!pg_get_bool(tables, i, pg_column(tables, "is_here")) &&
            make_table(own, primary, relation, e))
            return e->code;
    }
    if (pg_rows(tables) == 0)
        return RC_OK;
    if (refresh(own, e))
        return e->code;
    for (int i = 0; i < pg_rows(tables); i++)
        log_info("table %s, published since the join, is followed from now on",
                 pg_get_text(tables, i, pg_column(tables, "relation")));
    return RC_OK;
}
