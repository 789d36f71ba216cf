#include "fs/meta/meta.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/meta/handle.h"
#include "fs/meta/place.h"
#include "fs/meta/retry.h"
#include "schema/schema.h"

#define DEFAULT_CONNS              4
#define DEFAULT_TIMEOUT_MS         60000
#define DEFAULT_CONNECT_TIMEOUT_MS 10000
#define INODE_STEP                 1024
#define SLICE_STEP                 4096

static void formats_free(struct format_version *list)
{
    while (list) {
        struct format_version *next = list->next;
        format_free(&list->format);
        free(list);
        list = next;
    }
}

static void destroy(struct meta *meta)
{
    place_close(meta);
    lane_pool_deinit(&meta->lanes);
    usage_deinit(&meta->usage);
    doubts_deinit(&meta->doubts);
    id_range_deinit(&meta->inodes);
    id_range_deinit(&meta->slices);
    lane_session_deinit(&meta->session);
    lock_deinit(&meta->lock);
    formats_free(meta->formats);
    freshness_deinit(&meta->fresh);
    lock_cond_deinit(&meta->begun);
    free(meta->format_text);
    free(meta->session_info);
    free(meta->primary_password);
    free(meta->primary_url);
    free(meta->application);
    free(meta);
}

static uint64_t given_or(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

static enum rc copy_text(char **out, const char *text, struct err *e)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? err_fail(e, RC_NO_SPACE, "out of memory") : RC_OK;
}

static enum rc open_here(struct meta *meta, const struct meta_options *options, struct err *e)
{
    const struct server_options here = {.url = options->url,
                                        .application = meta->application,
                                        .max_conns = meta->max_conns,
                                        .connect_timeout_ms = meta->connect_timeout_ms};
    return server_open(&meta->here, &here, e);
}

static enum rc fill_options(struct meta *meta, const struct meta_options *options, struct err *e)
{
    meta->max_conns = options->max_conns ? options->max_conns : DEFAULT_CONNS;
    meta->timeout_ms = given_or(options->timeout_ms, DEFAULT_TIMEOUT_MS);
    meta->connect_timeout_ms = given_or(options->connect_timeout_ms, DEFAULT_CONNECT_TIMEOUT_MS);
    meta->wait_primary_ms = options->wait_primary_ms;
    meta->is_read_only = options->is_read_only;
    meta->follows_primary = options->follows_primary;
    if (copy_text(&meta->application, options->application ? options->application : "tarn", e) ||
        copy_text(&meta->primary_url, options->primary_url, e) ||
        copy_text(&meta->primary_password, options->primary_password, e) ||
        usage_init(&meta->usage, e))
        return e->code;
    return open_here(meta, options, e);
}

static enum rc create(struct meta **out, const struct meta_options *options, struct err *e)
{
    struct meta *meta = calloc(1, sizeof(*meta));
    if (!meta)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    lock_init(&meta->lock, LOCK_META_SESSION);
    lock_cond_init(&meta->begun);
    freshness_init(&meta->fresh, options->freshness);
    lane_session_init(&meta->session);
    lane_pool_init(&meta->lanes);
    doubts_init(&meta->doubts);
    id_range_init(&meta->inodes, "nextInode", INODE_STEP);
    id_range_init(&meta->slices, "nextChunk", SLICE_STEP);
    enum rc rc = fill_options(meta, options, e);
    if (rc)
        destroy(meta);
    else
        *out = meta;
    return rc;
}

/* Why is there no tarn_1.volume(), or why could it not find its tables? */
static enum rc explain_absence(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    static const char probe[] =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class"
        " WHERE relkind IN ('r', 'p') AND relname ~ '^jfs_(.+_)?setting$') AS has_volume";
    auto_result struct pg_result *answer = NULL;
    if (pg_call(pg, probe, NULL, 0, deadline_ms, &answer, e))
        return e->code;
    if (pg_get_bool(answer, 0, pg_column(answer, "has_volume")))
        return err_fail(e, RC_STALE,
                        "the volume in this database is not adopted for this version "
                        "of Tarn; run `tarn primary adopt URL`");
    return err_fail(e, RC_NOT_FOUND, "this database holds no volume; `tarn format` makes one");
}

static void compare_api(const struct pg_result *answer)
{
    const char *installed = pg_get_text(answer, 0, pg_column(answer, "api"));
    if (!installed || strcmp(installed, schema_api_digest) != 0)
        log_warn("the functions in schema %s are not the ones of this build", schema_api_name);
}

/* A mirror whose first copy has not brought the format row yet. */
static bool is_joining(const struct pg_result *answer)
{
    const char *role = pg_rows(answer) ? pg_get_text(answer, 0, pg_column(answer, "role")) : NULL;
    return role && strcmp(role, "mirror") == 0 &&
           !pg_get_bool(answer, 0, pg_column(answer, "is_ready"));
}

static enum rc read_volume(struct meta *meta, struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    meta->here->exchanges++;
    enum rc rc = pg_call(pg, "SELECT * FROM tarn_1.volume()", NULL, 0, deadline_ms, &answer, e);
    if (rc == RC_NOT_FOUND)
        return explain_absence(pg, deadline_ms, e);
    if (rc == RC_UNCERTAIN || rc == RC_TIMEOUT)
        return err_fail(e, RC_UNAVAILABLE, "PostgreSQL did not answer: %s", pg_message(pg));
    if (rc)
        return rc;
    const char *format =
        pg_rows(answer) ? pg_get_text(answer, 0, pg_column(answer, "format")) : NULL;
    if (!format && is_joining(answer)) {
        err_fail(e, RC_STALE, "this mirror is not ready: its copy is not complete yet");
        return err_exits(e, EXIT_NOT_READY);
    }
    if (!format)
        return explain_absence(pg, deadline_ms, e);
    bool is_changed;
    if (meta_format_update(meta, format, &is_changed, e) || place_take(meta, answer, e))
        return e->code;
    compare_api(answer);
    return RC_OK;
}

/* The first connection is made once: a wrong URL or a dead server is told at once. */
static enum rc connect_first(struct meta *meta, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(meta->connect_timeout_ms);
    const struct pg_options options = {.url = meta->here->url, .application = meta->application};
    struct conn *conn;
    bool is_unopened; /* it is: the first of all */
    if (conn_take(&meta->here->conns, false, deadline_ms, &conn, &is_unopened, e))
        return e->code;
    enum rc rc = pg_open(&conn->pg, &options, deadline_ms, e);
    if (!rc)
        rc = read_volume(meta, conn->pg, deadline_ms, e);
    conn_give(&meta->here->conns, conn, false);
    return rc;
}

enum rc meta_open(struct meta **out, const struct meta_options *options, struct err *e)
{
    if (url_check(options->url, e))
        return e->code;
    struct meta *meta = NULL;
    if (create(&meta, options, e))
        return e->code;
    if (connect_first(meta, e)) {
        auto_free char *shown = url_redact(options->url);
        destroy(meta);
        err_note(e, "cannot open \"%s\"", shown ? shown : "");
        bool has_volume = e->code != RC_NOT_FOUND && e->code != RC_STALE;
        bool is_said = has_volume || e->exit_code != 0;
        return is_said ? e->code : err_exits(e, EXIT_NOT_FORMATTED);
    }
    atomic_store(&meta->beaten, atomic_load(&meta->site));
    *out = meta;
    return RC_OK;
}

void meta_close(struct meta **meta)
{
    if (!*meta)
        return;
    meta_session_end(*meta);
    destroy(*meta);
    *meta = NULL;
}

const struct meta_site *meta_site(const struct meta *meta)
{
    return &atomic_load(&((struct meta *)(uintptr_t)meta)->site)->site;
}

struct format *meta_format_ref(struct meta *meta)
{
    LOCK_SCOPE(&meta->lock);
    meta->formats->references++;
    return meta->formats->format;
}

/* Take out of the list what nobody uses; the first stays, it is the current one. */
static struct format_version *unlink_unused_locked(struct meta *meta)
{
    struct format_version *unused = NULL;
    assert(meta->formats);
    for (struct format_version **at = &meta->formats->next; *at;) {
        struct format_version *v = *at;
        if (v->references > 0) {
            at = &v->next;
            continue;
        }
        *at = v->next;
        v->next = unused;
        unused = v;
    }
    return unused;
}

void meta_format_unref(struct meta *meta, struct format **format)
{
    if (!*format)
        return;
    lock_take(&meta->lock);
    for (struct format_version *v = meta->formats; v; v = v->next)
        if (v->format == *format)
            v->references--;
    struct format_version *unused = unlink_unused_locked(meta);
    lock_drop(&meta->lock);
    formats_free(unused);
    *format = NULL;
}

static bool is_same_text(struct meta *meta, const char *text)
{
    LOCK_SCOPE(&meta->lock);
    return meta->format_text && strcmp(meta->format_text, text) == 0;
}

/* Make a version the current one. RC_INVALID: it describes another volume. */
static enum rc install_format(struct meta *meta, struct format_version *fresh, char *text,
                              struct err *e)
{
    lock_take(&meta->lock);
    if (meta->formats && strcmp(meta->formats->format->uuid, fresh->format->uuid) != 0) {
        lock_drop(&meta->lock);
        return err_fail(e, RC_INVALID, "the database holds another volume now, UUID %s",
                        fresh->format->uuid);
    }
    fresh->next = meta->formats;
    meta->formats = fresh;
    free(meta->format_text);
    meta->format_text = text;
    struct format_version *unused = unlink_unused_locked(meta);
    lock_drop(&meta->lock);
    formats_free(unused);
    return RC_OK;
}

enum rc meta_format_update(struct meta *meta, const char *text, bool *is_changed, struct err *e)
{
    *is_changed = false;
    if (is_same_text(meta, text))
        return RC_OK;
    struct bytes json = {(const uint8_t *)text, strlen(text)};
    struct format *format;
    if (format_parse(json, &format, e))
        return e->code;
    struct format_version *fresh = calloc(1, sizeof(*fresh));
    char *copy = strdup(text);
    if (fresh)
        fresh->format = format;
    enum rc rc = fresh && copy ? install_format(meta, fresh, copy, e)
                               : err_fail(e, RC_NO_SPACE, "out of memory");
    if (rc) {
        format_free(&format);
        free(fresh);
        free(copy);
        return rc;
    }
    *is_changed = true;
    return RC_OK;
}

static bool exceeds(uint64_t limit, int64_t used, int64_t pending, int64_t more)
{
    return limit && (int64_t)limit < used + pending + more;
}

enum rc meta_check_room(struct meta *meta, int64_t space, int64_t inodes, struct err *e)
{
    int64_t pending_space, pending_inodes;
    usage_pending(&meta->usage, &pending_space, &pending_inodes);
    LOCK_SCOPE(&meta->lock);
    if (!meta->has_vitals)
        return RC_OK;
    const struct format *format = meta->formats->format;
    if (exceeds(format->capacity, meta->used_space, pending_space, space))
        return err_refused(e, ENOSPC, "the volume's capacity of %llu bytes is used up",
                           (unsigned long long)format->capacity);
    if (exceeds(format->inodes, meta->used_inodes, pending_inodes, inodes))
        return err_refused(e, ENOSPC, "the volume's %llu inodes are used up",
                           (unsigned long long)format->inodes);
    return RC_OK;
}

void meta_pending_usage(struct meta *meta, int64_t *space, int64_t *inodes)
{
    usage_pending(&meta->usage, space, inodes);
}

enum rc meta_flush_usage(struct meta *meta, struct err *e)
{
    if (meta->is_read_only)
        return RC_OK;
    return doubts_settle(&meta->doubts, meta, e) ? e->code : usage_flush(&meta->usage, meta, e);
}

uint64_t meta_exchanges(const struct meta *meta)
{
    struct meta *m =
        (struct meta *)(uintptr_t)meta; /* the lock is no part of what const promises */
    uint64_t sum = atomic_load_explicit(&m->here->exchanges, memory_order_relaxed);
    LOCK_SCOPE(&m->lock);
    for (const struct server *server = m->far; server; server = server->next)
        sum += atomic_load_explicit(&server->exchanges, memory_order_relaxed);
    return sum;
}
