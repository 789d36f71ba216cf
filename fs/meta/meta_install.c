#include "fs/meta/meta_install.h"

#include <string.h>

#include "fs/base/log.h"
#include "schema/schema.h"

#define SCRIPT_BYTES_MAX ((size_t)16 << 20)

static const char setup_name[] = "30_install";

/* Where the files say the volume's tables are. */
static const char usual_location[] = "public.jfs_";

/* What one installation does between BEGIN and COMMIT. */
struct job {
    enum rc (*run)(struct pg *pg, const struct job *job, struct err *e);
    const char *format; /* of a new volume */
    uint64_t deadline_ms;
};

static enum rc run_setup(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    for (size_t i = 0; i < schema_setup_count; i++)
        if (strcmp(schema_setup[i].name, setup_name) == 0)
            return pg_script(pg, schema_setup[i].text, deadline_ms, e);
    return err_fail(e, RC_INVALID, "schema/setup/%s.sql is not part of this build", setup_name);
}

static void roll_back(struct pg *pg, uint64_t deadline_ms)
{
    struct err e = ERR_INIT;
    if (pg_is_open(pg) && pg_script(pg, "ROLLBACK", deadline_ms, &e))
        log_err(LOG_LEVEL_DEBUG, &e, "could not roll back");
}

static enum rc in_transaction(struct pg *pg, const struct job *job, struct err *e)
{
    if (pg_script(pg, "BEGIN", job->deadline_ms, e))
        return e->code;
    auto_result struct pg_result *lock = NULL;
    enum rc rc = run_setup(pg, job->deadline_ms, e);
    if (!rc)
        rc = pg_call(pg, "SELECT pg_temp.install_lock()", NULL, 0, job->deadline_ms, &lock, e);
    if (!rc)
        rc = job->run(pg, job, e);
    if (!rc)
        return pg_script(pg, "COMMIT", job->deadline_ms, e);
    roll_back(pg, job->deadline_ms);
    return rc;
}

/* Run a file, naming it in the error. */
static enum rc run_file(struct pg *pg, const char *folder, const struct schema_file *file,
                        uint64_t deadline_ms, struct err *e)
{
    if (pg_script(pg, file->text, deadline_ms, e))
        return err_note(e, "schema/%s/%s.sql", folder, file->name);
    return RC_OK;
}

static enum rc install_volume(struct pg *pg, const struct job *job, struct err *e)
{
    for (size_t i = 0; i < schema_volume_count; i++)
        if (run_file(pg, "volume", &schema_volume[i], job->deadline_ms, e))
            return e->code;
    auto_result struct pg_result *answer = NULL;
    const struct pg_param params[] = {pg_text(job->format)};
    return pg_call(pg, "SELECT pg_temp.seed_volume($1)", params, 1, job->deadline_ms, &answer, e);
}

enum rc meta_install_volume(struct pg *pg, const char *format, uint64_t deadline_ms, struct err *e)
{
    const struct job job = {install_volume, format, deadline_ms};
    if (in_transaction(pg, &job, e))
        return err_note(e, "could not make the tables of the volume");
    return RC_OK;
}

enum rc meta_install_tables(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    for (size_t i = 0; i < schema_volume_count; i++)
        if (run_file(pg, "volume", &schema_volume[i], deadline_ms, e))
            return err_note(e, "could not make the tables of the volume");
    return RC_OK;
}

enum rc meta_install_setup(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    auto_result struct pg_result *lock = NULL;
    for (size_t i = 0; i < schema_setup_count; i++)
        if (run_file(pg, "setup", &schema_setup[i], deadline_ms, e))
            return e->code;
    return pg_call(pg, "SELECT pg_temp.install_lock()", NULL, 0, deadline_ms, &lock, e);
}

int meta_site_newest(void)
{
    return schema_site[schema_site_count - 1].version;
}

static enum rc install_site(struct pg *pg, const struct job *job, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (pg_call(pg, "SELECT pg_temp.site_version() AS version", NULL, 0, job->deadline_ms, &answer,
                e))
        return e->code;
    const int installed = pg_get_int4(answer, 0, pg_column(answer, "version"));
    const int newest = meta_site_newest();
    if (installed > newest)
        return err_fail(e, RC_STALE, "the site's tables are of version %d, this Tarn knows %d",
                        installed, newest);
    for (size_t i = 0; i < schema_site_count; i++)
        if (schema_site[i].version > installed &&
            run_file(pg, "site", &schema_site[i], job->deadline_ms, e))
            return e->code;
    return RC_OK;
}

enum rc meta_install_site(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    const struct job job = {install_site, NULL, deadline_ms};
    if (in_transaction(pg, &job, e))
        return err_note(e, "could not install the site's tables");
    return RC_OK;
}

/* Append text, with the place of the tables written in. */
static enum rc add_relocated(struct buf *script, const char *text, const char *location,
                             struct err *e)
{
    for (const char *at; (at = strstr(text, usual_location)) != NULL;
         text = at + strlen(usual_location))
        if (buf_add(script, text, (size_t)(at - text), e) || buf_add_str(script, location, e))
            return e->code;
    return buf_add_str(script, text, e);
}

/* All functions at once: one exchange, and a file may use what a later one makes. */
static enum rc run_api_files(struct pg *pg, const char *location, uint64_t deadline_ms,
                             struct err *e)
{
    auto_buf struct buf script;
    buf_init(&script, SCRIPT_BYTES_MAX);
    for (size_t i = 0; i < schema_api_count; i++)
        if (add_relocated(&script, schema_api[i].text, location, e) ||
            buf_add_str(&script, "\n", e))
            return e->code;
    const char *text;
    if (buf_cstr(&script, &text, e))
        return e->code;
    return pg_script(pg, text, deadline_ms, e);
}

static enum rc replace_api(struct pg *pg, const char *location, uint64_t deadline_ms, struct err *e)
{
    auto_result struct pg_result *begun = NULL;
    auto_result struct pg_result *ended = NULL;
    const struct pg_param params[] = {pg_text(schema_api_name), pg_text(schema_api_digest)};
    if (pg_call(pg, "SELECT pg_temp.api_begin($1)", params, 1, deadline_ms, &begun, e) ||
        run_api_files(pg, location, deadline_ms, e))
        return e->code;
    return pg_call(pg, "SELECT pg_temp.api_end($1,$2)", params, 2, deadline_ms, &ended, e);
}

static enum rc install_api(struct pg *pg, const struct job *job, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (pg_call(pg, "SELECT * FROM pg_temp.volume_locations()", NULL, 0, job->deadline_ms, &answer,
                e))
        return e->code;
    if (pg_rows(answer) == 0)
        return err_fail(e, RC_NOT_FOUND, "this database holds no volume");
    if (pg_rows(answer) > 1)
        return err_fail(e, RC_INVALID, "this database holds %d volumes, Tarn keeps one in each",
                        pg_rows(answer));
    const char *location = pg_get_text(answer, 0, pg_column(answer, "location"));
    if (location[0] == '"') /* quotes would not do inside the array literals of the files */
        return err_fail(e, RC_INVALID, "the volume's schema %.*s must be renamed to a plain word",
                        (int)strcspn(location, "."), location);
    return replace_api(pg, location, job->deadline_ms, e);
}

enum rc meta_install_api(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    const struct job job = {install_api, NULL, deadline_ms};
    if (in_transaction(pg, &job, e))
        return err_note(e, "could not install the functions of schema %s", schema_api_name);
    return RC_OK;
}
