#include "fs/meta/finding.h"

#include <stdarg.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/meta/meta_install.h"
#include "schema/schema.h"

static const char *const level_names[] = {
    [FINDING_OK] = "ok", [FINDING_ADVICE] = "advice", [FINDING_PROBLEM] = "problem"};

enum rc findings_init(struct findings *f, struct err *e)
{
    *f = (struct findings){.list = json_array_new()};
    return f->list ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

void findings_deinit(struct findings *f)
{
    json_free(&f->list);
}

enum rc findings_prepare(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    for (size_t i = 0; i < schema_setup_count; i++)
        if (pg_script(pg, schema_setup[i].text, deadline_ms, e))
            return err_note(e, "could not prepare the checks (%s)", schema_setup[i].name);
    return RC_OK;
}

enum rc meta_install_missing(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    if (meta_install_site(pg, deadline_ms, e))
        return e->code;
    auto_result struct pg_result *row = NULL;
    const struct pg_param schema = pg_text(schema_api_name);
    if (pg_call(pg, "SELECT pg_temp.installed_api($1)", &schema, 1, deadline_ms, &row, e))
        return err_note(e, "could not tell which functions are installed");
    const char *digest = pg_get_text(row, 0, 0);
    if (digest && strcmp(digest, schema_api_digest) == 0)
        return RC_OK;
    return meta_install_api(pg, deadline_ms, e);
}

static enum rc append(struct findings *f, const char *level, const char *topic, const char *finding,
                      const char *mend, struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(item, "level", level, e) || json_set_string(item, "topic", topic, e) ||
        json_set_string(item, "finding", finding, e) ||
        (mend && json_set_string(item, "mend", mend, e)))
        return e->code;
    if (strcmp(level, level_names[FINDING_PROBLEM]) == 0 && f->problems++ == 0) {
        (void)snprintf(f->topic, sizeof(f->topic), "%s", topic);
        (void)snprintf(f->first, sizeof(f->first), "%s", finding);
    }
    return json_append(f->list, &item, e);
}

enum rc findings_ask(struct findings *f, struct pg *pg, const char *sql,
                     const struct pg_param *params, int param_count, uint64_t deadline_ms,
                     struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (pg_call(pg, sql, params, param_count, deadline_ms, &rows, e))
        return e->code;
    int level = pg_column(rows, "level");
    int topic = pg_column(rows, "topic");
    int finding = pg_column(rows, "finding");
    int mend = pg_column(rows, "mend");
    for (int i = 0; i < pg_rows(rows); i++)
        if (append(f, pg_get_text(rows, i, level), pg_get_text(rows, i, topic),
                   pg_get_text(rows, i, finding), pg_get_text(rows, i, mend), e))
            return e->code;
    return RC_OK;
}

enum rc findings_add(struct findings *f, enum finding_level level, const char *topic,
                     const char *mend, struct err *e, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return append(f, level_names[level], topic, text, mend, e);
}

void findings_print(const struct findings *f, FILE *to)
{
    for (size_t i = 0; i < json_length(f->list); i++) {
        const struct json *item = json_at(f->list, i);
        const char *mend = json_get_string(item, "mend", NULL);
        (void)fprintf(to, "%-8s %s: %s%s%s\n", json_get_string(item, "level", ""),
                      json_get_string(item, "topic", ""), json_get_string(item, "finding", ""),
                      mend ? "; mend with: " : "", mend ? mend : "");
    }
}

enum rc findings_refuse(const struct findings *f, const char *what, struct err *e)
{
    static const struct {
        const char *topic;
        int exit_code;
    } special[] = {
        {"volume", EXIT_NOT_FORMATTED},
        {"primary", EXIT_NOT_FORMATTED},
        {"privileges", EXIT_DENIED},
        {"bucket", EXIT_STORE},
    };
    err_fail(e, RC_INVALID, "%s: %s%s", what, f->first,
             f->problems > 1 ? " (and more, see above)" : "");
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
        if (strcmp(f->topic, special[i].topic) == 0)
            return err_exits(e, special[i].exit_code);
    return err_exits(e, EXIT_FAILED);
}
