#include "fs/meta/place.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/url.h"

#define LOOK_AGAIN_MS 200

METRIC_DEFINE(role_changes, METRIC_COUNTER, "tarn_mount_role_changes_total", NULL,
              "changes of this site's role or of its primary that were followed");
METRIC_DEFINE(is_primary, METRIC_GAUGE, "tarn_mount_site_is_primary", NULL,
              "1 where changes go to the own site's database");
METRIC_DEFINE(epoch_seen, METRIC_GAUGE, "tarn_mount_epoch", NULL,
              "epoch of the volume as far as it is known here");

/* ---- what a row says ---- */

static void site_free(struct site_version *v)
{
    free(v->site.name);
    free(v->site.role);
    free(v->site.state);
    free(v->site.local_bucket);
    free(v->site.origin_bucket);
    free(v->site.former_bucket);
    free(v->site.primary_url);
    free(v);
}

/* A copy of a text column, NULL for NULL. Without memory *is_short is set. */
static char *text_copy(const struct pg_result *answer, const char *column, bool *is_short)
{
    const char *text = pg_get_text(answer, 0, pg_column(answer, column));
    char *copy = text ? strdup(text) : NULL;
    *is_short |= text && !copy;
    return copy;
}

static enum rc read_site(const struct pg_result *answer, struct meta_site *out, struct err *e)
{
    bool is_short = false;
    *out = (struct meta_site){
        .name = text_copy(answer, "site", &is_short),
        .role = text_copy(answer, "role", &is_short),
        .state = text_copy(answer, "state", &is_short),
        .local_bucket = text_copy(answer, "local_bucket", &is_short),
        .origin_bucket = text_copy(answer, "origin_bucket", &is_short),
        .former_bucket = text_copy(answer, "former_bucket", &is_short),
        .primary_url = text_copy(answer, "primary_url", &is_short),
        .is_ready = pg_get_bool(answer, 0, pg_column(answer, "is_ready")),
        .epoch = pg_get_int8(answer, 0, pg_column(answer, "epoch")),
    };
    if (is_short)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (!out->name || !out->role || !out->state)
        return err_fail(e, RC_STALE,
                        "this database does not say which site it is; run "
                        "`tarn primary adopt URL` or `tarn mirror join`");
    return RC_OK;
}

static bool is_same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The state of a mirror comes and goes, and matters to nobody who is in already. */
static bool is_same_site(const struct meta_site *a, const struct meta_site *b)
{
    return is_same(a->name, b->name) && is_same(a->role, b->role) &&
           is_same(a->local_bucket, b->local_bucket) &&
           is_same(a->origin_bucket, b->origin_bucket) && is_same(a->primary_url, b->primary_url) &&
           a->epoch == b->epoch;
}

/* ---- where the primary is ---- */

/*
 * The URL given on the command line is another way to the primary that was known then. Once the
 * site names another primary it is a way to the wrong one.
 */
static const char *url_of_primary(const struct meta *meta, const struct site_version *now)
{
    const struct site_version *first = now;
    while (first->before)
        first = first->before;
    const bool is_the_first = is_same(first->site.primary_url, now->site.primary_url);
    return meta->primary_url && is_the_first ? meta->primary_url : now->site.primary_url;
}

static struct server *find_far_locked(struct meta *meta, const char *url)
{
    struct server *server = meta->far;
    while (server && strcmp(server->url, url) != 0)
        server = server->next;
    return server;
}

/* The server of that URL, known or new. It stays until the handle is closed: calls may be in it. */
static enum rc far_server(struct meta *meta, const char *url, struct server **out, struct err *e)
{
    const struct server_options options = {
        .url = url,
        .password = meta->primary_password ? meta->primary_password : "",
        .application = meta->application,
        .max_conns = meta->max_conns,
        .connect_timeout_ms = meta->connect_timeout_ms,
        .is_far = true,
    };
    LOCK_SCOPE(&meta->lock);
    *out = find_far_locked(meta, url);
    if (*out)
        return RC_OK;
    if (server_open(out, &options, e))
        return e->code;
    (*out)->next = meta->far;
    meta->far = *out;
    return RC_OK;
}

static enum rc find_primary(struct meta *meta, const struct site_version *now, struct server **out,
                            struct err *e)
{
    const bool is_here = !meta->follows_primary || strcmp(now->site.role, "mirror") != 0;
    const char *url = is_here ? NULL : url_of_primary(meta, now);
    *out = is_here ? meta->here : NULL;
    return url ? far_server(meta, url, out, e) : RC_OK;
}

static void say_moved(const struct meta_site *site, const struct server *primary)
{
    auto_free char *shown = primary && primary->is_far ? url_redact(primary->url) : NULL;
    metric_add(&role_changes, 1);
    log_info("site \"%s\" is a %s now, of epoch %lld; changes go to %s", site->name, site->role,
             (long long)site->epoch,
             shown     ? shown
             : primary ? "its own database"
                       : "nobody, because it does not know its primary");
}

enum rc place_take(struct meta *meta, const struct pg_result *answer, struct err *e)
{
    struct site_version *before = atomic_load(&meta->site), *fresh = calloc(1, sizeof(*fresh));
    struct server *primary = NULL;
    if (!fresh)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    fresh->before = before;
    if (read_site(answer, &fresh->site, e) || find_primary(meta, fresh, &primary, e)) {
        site_free(fresh);
        return e->code;
    }
    struct server *const last = atomic_load(&meta->primary);
    metric_set(&is_primary, primary == meta->here);
    metric_set(&epoch_seen, fresh->site.epoch);
    const bool is_known = before && is_same_site(&before->site, &fresh->site);
    if (is_known || !atomic_compare_exchange_strong(&meta->site, &before, fresh)) {
        site_free(fresh); /* or somebody else was faster */
        return RC_OK;
    }
    if (!before || primary == last) {
        atomic_store(&meta->primary, primary);
        return RC_OK;
    }
    freshness_restart(&meta->fresh);
    atomic_store(&meta->primary, primary);
    say_moved(&fresh->site, primary);
    return RC_OK;
}

void place_close(struct meta *meta)
{
    for (struct site_version *v = atomic_load(&meta->site), *before; v; v = before) {
        before = v->before;
        site_free(v);
    }
    for (struct server *server = meta->far, *next; server; server = next) {
        next = server->next;
        server_close(&server);
    }
    server_close(&meta->here);
}

struct server *place_primary(struct meta *meta)
{
    return atomic_load(&meta->primary);
}

bool place_is_mirror(struct meta *meta)
{
    return place_primary(meta) != meta->here;
}

/* ---- looking again ---- */

enum rc place_look(struct meta *meta, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    const struct call call = {"SELECT * FROM tarn_1.place()", NULL, 0, false};
    atomic_store(&meta->looked_ms, clock_ms());
    if (retry_here(meta, &call, &answer, e))
        return err_note(e, "could not ask which site this is");
    if (pg_rows(answer) != 1)
        return err_fail(e, RC_INVALID, "this database does not say which site it is");
    return place_take(meta, answer, e);
}

void place_suspect(struct meta *meta)
{
    struct err e = ERR_INIT;
    uint64_t looked_ms = atomic_load(&meta->looked_ms);
    const uint64_t now = clock_ms();
    if (!meta->follows_primary || now < looked_ms + LOOK_AGAIN_MS ||
        !atomic_compare_exchange_strong(&meta->looked_ms, &looked_ms, now))
        return;
    if (place_look(meta, &e))
        log_err(LOG_LEVEL_DEBUG, &e, "where the primary is stays as it was known");
}
