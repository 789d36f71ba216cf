#include "mirror/evidence.h"

#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/json.h"
#include "mirror/mirror.h"

static void take_verdict(const struct pg_result *row, struct evidence *out)
{
    if (pg_rows(row) == 0)
        return;
    const char *lost_by = pg_get_text(row, 0, pg_column(row, "lost_by"));
    const char *why = pg_get_text(row, 0, pg_column(row, "why"));
    (void)snprintf(out->lost_by, sizeof(out->lost_by), "%s", lost_by ? lost_by : "");
    (void)snprintf(out->why, sizeof(out->why), "%s", why ? why : "");
}

static enum rc take_numbers(struct bytes said, struct evidence *out, struct err *e)
{
    auto_json struct json *document = NULL;
    if (json_parse(said, &document, e))
        return err_note(e, "could not read what the primary says");
    out->epoch = json_get_int(document, "epoch", 0);
    out->trash_days = json_get_int(document, "trash_days", 0);
    return RC_OK;
}

enum rc evidence_look(struct pg *own, struct pg *primary, const struct facts *f,
                      struct evidence *out, struct err *e)
{
    auto_result struct pg_result *said = NULL;
    auto_result struct pg_result *verdict = NULL;
    const struct pg_param names[] = {pg_text(f->subscription), pg_text(f->name)};
    *out = (struct evidence){.is_heard = false};
    enum rc rc = pg_call(primary, "SELECT * FROM tarn_1.primary_says($1,$2)", names, 2,
                         clock_deadline(MIRROR_ASK_MS), &said, e);
    if (rc == RC_NOT_FOUND || (!rc && pg_rows(said) == 0)) {
        *e = ERR_INIT;
        return RC_OK;
    }
    if (rc)
        return err_note(e, "could not ask the primary who it is");
    const struct pg_param params[] = {pg_text(pg_get_text(said, 0, 0)), pg_text(f->applied_lsn)};
    if (pg_call(own, "SELECT * FROM tarn_1.primary_heard($1,$2::text::pg_lsn)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &verdict, e))
        return err_note(e, "could not compare what the primary says with what is remembered");
    out->is_heard = true;
    take_verdict(verdict, out);
    return take_numbers(pg_get_bytes(said, 0, 0), out, e);
}

enum rc evidence_apply_error(struct pg *own, char out[EVIDENCE_TEXT_MAX], struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.apply_error()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not look for the error of apply");
    const char *message = pg_get_text(row, 0, pg_column(row, "message"));
    (void)snprintf(out, EVIDENCE_TEXT_MAX, "%s", message ? message : "");
    return RC_OK;
}
