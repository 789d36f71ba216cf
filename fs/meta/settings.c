#include "fs/meta/settings.h"

#include <errno.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/base/url.h"

#define TRIES 10

/* The answer of tarn_1.volume(). */
static enum rc ask_volume(struct pg *pg, uint64_t deadline_ms, struct pg_result **out,
                          struct err *e)
{
    enum rc rc = pg_call(pg, "SELECT * FROM tarn_1.volume()", NULL, 0, deadline_ms, out, e);
    if (rc == RC_NOT_FOUND) {
        err_fail(e, RC_STALE,
                 "this database holds no volume, or one that is not adopted for this version of "
                 "Tarn; run `tarn primary adopt URL`");
        return err_exits(e, EXIT_NOT_FORMATTED);
    }
    if (rc)
        return rc;
    if (pg_rows(*out) == 1 && !pg_is_null(*out, 0, pg_column(*out, "format")))
        return RC_OK;
    pg_result_free(out);
    err_fail(e, RC_NOT_FOUND, "this database holds no volume");
    return err_exits(e, EXIT_NOT_FORMATTED);
}

static enum rc check_role(struct pg *pg, bool is_changing, uint64_t deadline_ms, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (ask_volume(pg, deadline_ms, &answer, e))
        return e->code;
    const char *role = pg_get_text(answer, 0, pg_column(answer, "role"));
    if (!is_changing || !role || strcmp(role, "mirror") != 0)
        return RC_OK;
    err_refused(e, EROFS, "this is a mirror; give the URL of the primary");
    return err_exits(e, EXIT_NOT_READY);
}

enum rc settings_connect(struct pg **out, const char *url, const char *application,
                         bool is_changing, uint64_t deadline_ms, struct err *e)
{
    const struct pg_options options = {.url = url, .application = application};
    if (url_check(url, e))
        return e->code;
    if (pg_open(out, &options, deadline_ms, e) || check_role(*out, is_changing, deadline_ms, e)) {
        pg_close(out);
        auto_free char *shown = url_redact(url);
        return err_note(e, "cannot open \"%s\"", shown ? shown : "");
    }
    return RC_OK;
}

enum rc settings_read(struct pg *pg, struct buf *out, uint64_t deadline_ms, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (ask_volume(pg, deadline_ms, &answer, e))
        return e->code;
    return buf_add_str(out, pg_get_text(answer, 0, pg_column(answer, "format")), e);
}

/* RC_STALE: the row is another one by now. */
static enum rc replace(struct pg *pg, const char *old, struct buf *row, uint64_t deadline_ms,
                       struct err *e)
{
    const char *text;
    auto_result struct pg_result *answer = NULL;
    if (buf_cstr(row, &text, e))
        return e->code;
    const struct pg_param params[] = {pg_text(old), pg_text(text)};
    if (pg_call(pg, "SELECT * FROM tarn_1.format_replace($1,$2)", params, 2, deadline_ms, &answer,
                e))
        return e->code;
    const int refusal = pg_get_int4(answer, 0, pg_column(answer, "err"));
    if (refusal == EAGAIN)
        return err_fail(e, RC_STALE, "another client keeps changing the settings");
    return refusal ? err_refused(e, refusal, "the settings cannot be changed") : RC_OK;
}

static enum rc try_change(struct pg *pg, settings_edit edit, void *arg, uint64_t deadline_ms,
                          bool *is_changed, struct err *e)
{
    auto_buf struct buf old, row;
    buf_init(&old, SETTINGS_BYTES_MAX);
    buf_init(&row, SETTINGS_BYTES_MAX);
    const char *text;
    if (settings_read(pg, &old, deadline_ms, e) || buf_cstr(&old, &text, e) ||
        buf_add(&row, old.data, old.size, e) || edit(&row, arg, e))
        return e->code;
    *is_changed = row.size != old.size || memcmp(row.data, old.data, old.size) != 0;
    return *is_changed ? replace(pg, text, &row, deadline_ms, e) : RC_OK;
}

enum rc settings_change(struct pg *pg, settings_edit edit, void *arg, uint64_t deadline_ms,
                        bool *is_changed, struct err *e)
{
    enum rc rc = RC_STALE;
    for (int tries = 0; tries < TRIES && rc == RC_STALE; tries++) {
        *e = ERR_INIT;
        rc = try_change(pg, edit, arg, deadline_ms, is_changed, e);
    }
    return rc;
}
