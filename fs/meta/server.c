#include "fs/meta/server.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/base/url.h"

METRIC_DEFINE(exchanges, METRIC_COUNTER, "tarn_meta_exchanges_total", NULL,
              "calls sent to PostgreSQL")
METRIC_DEFINE(far_exchanges, METRIC_COUNTER, "tarn_meta_primary_exchanges_total", NULL,
              "of these, to the primary of another site")
METRIC_DEFINE(call_time, METRIC_HISTOGRAM, "tarn_meta_call_seconds", NULL,
              "time of one exchange with PostgreSQL")
METRIC_DEFINE(primary_away, METRIC_GAUGE, "tarn_mount_primary_away", NULL,
              "1 while this site's client cannot connect to the primary")

enum rc server_open(struct server **out, const struct server_options *options, struct err *e)
{
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    *server = (struct server){.url = strdup(options->url),
                              .password = options->password,
                              .application = options->application,
                              .connect_timeout_ms = options->connect_timeout_ms,
                              .is_far = options->is_far};
    enum rc rc = server->url ? conn_pool_init(&server->conns, options->max_conns, e)
                             : err_fail(e, RC_NO_SPACE, "out of memory");
    if (rc)
        server_close(&server);
    else
        *out = server;
    return rc;
}

void server_close(struct server **server)
{
    if (!*server)
        return;
    conn_pool_deinit(&(*server)->conns);
    free((*server)->url);
    free(*server);
    *server = NULL;
}

/* conn is the caller's alone. */
static enum rc reconnect(struct server *server, struct conn *conn, uint64_t deadline_ms,
                         struct err *e)
{
    pg_close(&conn->pg);
    const uint64_t until = clock_deadline(server->connect_timeout_ms);
    const struct pg_options options = {
        .url = server->url, .password = server->password, .application = server->application};
    return pg_open(&conn->pg, &options, until < deadline_ms ? until : deadline_ms, e);
}

/*
 * The volume was there when it was opened, so a server without the database is one that is being
 * restored or is the wrong one for now. "Not found" would be taken for an answer about a file.
 */
static enum rc connect_for(struct server *server, struct conn *conn, uint64_t deadline_ms,
                           struct err *e)
{
    enum rc rc = reconnect(server, conn, deadline_ms, e);
    if (rc == RC_NOT_FOUND)
        rc = e->code = RC_UNAVAILABLE;
    return rc;
}

/* A state that lasts is said when it begins and when it ends. */
static void note_reachable(struct server *server, bool is_away, const struct err *why)
{
    if (!server->is_far || atomic_exchange(&server->is_away, is_away) == is_away)
        return;
    auto_free char *shown = url_redact(server->url);
    metric_set(&primary_away, is_away);
    if (is_away)
        log_err(LOG_LEVEL_WARN, why, "the primary at %s cannot be reached", shown ? shown : "");
    else
        log_info("the primary at %s can be reached", shown ? shown : "");
}

static enum rc send_call(struct server *server, struct conn *conn, const struct call *call,
                         uint64_t deadline_ms, struct pg_result **out, struct pg_words *words,
                         struct err *e)
{
    atomic_fetch_add_explicit(&server->exchanges, 1, memory_order_relaxed);
    metric_add(&exchanges, 1);
    metric_add(&far_exchanges, server->is_far);
    const uint64_t began_us = clock_us();
    enum rc rc =
        pg_call_shared(conn->pg, call->sql, call->params, call->count, deadline_ms, out, words, e);
    metric_observe_us(&call_time, clock_us() - began_us);
    /* Read-only is a session's setting from its beginning on, also after the database's is gone. */
    if (strcmp(words->sqlstate, "25006") == 0)
        pg_give_up(conn->pg);
    return rc;
}

enum rc server_call(struct server *server, const struct call *call, uint64_t deadline_ms,
                    struct pg_result **out, struct pg_words *words, struct err *e)
{
    struct conn *conn;
    bool is_unopened;
    *words = (struct pg_words){.sqlstate = ""};
    enum rc rc = conn_take(&server->conns, call->is_long, deadline_ms, &conn, &is_unopened, e);
    if (rc)
        return rc;
    if (is_unopened) {
        rc = connect_for(server, conn, deadline_ms, e);
        note_reachable(server, rc != RC_OK, e);
        if (!rc)
            conn_opened(&server->conns, conn, call->is_long);
    }
    if (!rc)
        rc = send_call(server, conn, call, deadline_ms, out, words, e);
    conn_give(&server->conns, conn, call->is_long);
    return rc;
}
