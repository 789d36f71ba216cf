#include "fs/meta/pg_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/url.h"

/* Warnings of the server are for its own log. */
static void ignore_notice(void *arg, const char *message)
{
    (void)arg;
    log_debug("PostgreSQL notice: %.*s", (int)strcspn(message, "\n"), message);
}

enum rc pg_wait(struct pg *pg, short events, short *ready, uint64_t deadline_ms, struct err *e)
{
    struct pollfd slot = {.fd = PQsocket(pg->conn), .events = events};
    for (;;) {
        int left = clock_left(deadline_ms);
        int n = poll(&slot, 1, left);
        if (n > 0) {
            *ready = slot.revents;
            return RC_OK;
        }
        if (n == 0 && clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "PostgreSQL did not answer in time");
        if (n < 0 && errno != EINTR)
            return err_os(e, errno, "could not wait for PostgreSQL");
    }
}

/*
 * JuiceFS URLs may say search_path= and table_prefix=, which libpq refuses. Functions are installed
 * for the schema and prefix of the tables, so a client has no use for them: take them out.
 */
static void drop_parameter(char *url, const char *name)
{
    char *query = strchr(url, '?');
    const size_t name_size = strlen(name);
    while (query && *query) {
        char *item = query + 1;
        size_t item_size = strcspn(item, "&");
        if (strncmp(item, name, name_size) != 0 || item[name_size] != '=') {
            query = item[item_size] ? item + item_size : NULL;
            continue;
        }
        size_t skip = item_size + (item[item_size] == '&');
        memmove(item, item + skip, strlen(item + skip) + 1);
        if (!*item) /* it was the last one: its separator goes as well */
            *query = '\0';
    }
}

static char *libpq_url(const char *url)
{
    char *copy = strdup(url);
    if (copy) {
        drop_parameter(copy, "search_path");
        drop_parameter(copy, "table_prefix");
    }
    return copy;
}

/*
 * META_PASSWORD stands for the metadata URL's password, unless the URL says by itself where its
 * password is: libpq would not look there once it is given one.
 */
static const char *usual_password(const char *url)
{
    const char *query = strchr(url, '?');
    bool names_file = query && (strstr(query, "?passfile=") || strstr(query, "&passfile="));
    return names_file ? NULL : getenv("META_PASSWORD");
}

/*
 * Start to connect. A keyword before dbname gives way to the URL, one after it overrules the URL.
 * Everything the session needs travels in the start-up packet, so that no SET costs a round trip.
 */
static PGconn *start(const struct pg_options *options, const char *url)
{
    const char *const keywords[] = {
        "password",
        "application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "dbname",
        "client_encoding",
        options->is_replication ? "replication" : NULL,
        NULL,
    };
    const char *const values[] = {
        options->password ? options->password : usual_password(url),
        options->application,
        "1",
        "10",
        "5",
        "3",
        "15000",
        url,
        "UTF8",
        "database",
        NULL,
    };
    return PQconnectStartParams(keywords, values, 1);
}

/* libpq's own complaint about a URL may quote a piece of the password, so it is not passed on. */
static enum rc check_url(const char *url, struct err *e)
{
    if (url_check(url, e))
        return e->code;
    PQconninfoOption *parsed = PQconninfoParse(url, NULL);
    if (parsed) {
        PQconninfoFree(parsed);
        return RC_OK;
    }
    return err_fail(e, RC_INVALID, "metadata URL has a part or a parameter that is not known");
}

static enum rc finish_connecting(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED || PQstatus(pg->conn) == CONNECTION_BAD)
            return pg_connect_failed(pg, e);
        short ready;
        short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        enum rc rc = pg_wait(pg, events, &ready, deadline_ms, e);
        if (rc == RC_TIMEOUT)
            return err_fail(e, RC_UNAVAILABLE, "PostgreSQL at \"%s\" does not answer",
                            PQhost(pg->conn) ? PQhost(pg->conn) : "");
        if (rc)
            return rc;
        state = PQconnectPoll(pg->conn);
    }
    return RC_OK;
}

static enum rc connect_to(struct pg *pg, const struct pg_options *options, uint64_t deadline_ms,
                          struct err *e)
{
    auto_free char *url = libpq_url(options->url);
    if (!url)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (check_url(url, e))
        return e->code;
    pg->conn = start(options, url);
    if (!pg->conn)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    PQsetNoticeProcessor(pg->conn, ignore_notice, NULL);
    /* Verbose texts carry the SQLSTATE, which libpq keeps to itself while connecting. */
    PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    if (finish_connecting(pg, deadline_ms, e))
        return e->code;

    PQsetErrorVerbosity(pg->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(pg->conn, 1) != 0)
        return pg_lost(pg, PG_NOT_SENT, &pg->words, e);
    pg->socket = fcntl(PQsocket(pg->conn), F_DUPFD_CLOEXEC, 0);
    if (pg->socket < 0)
        return err_os(e, errno, "could not duplicate a descriptor");
    return RC_OK;
}

enum rc pg_open(struct pg **out, const struct pg_options *options, uint64_t deadline_ms,
                struct err *e)
{
    struct pg *pg = calloc(1, sizeof(*pg));
    if (!pg)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    pg->socket = -1;
    pg->last_link = &pg->first;
    lock_init(&pg->lock, LOCK_META_CONN);
    if (connect_to(pg, options, deadline_ms, e)) {
        pg_close(&pg);
        return e->code;
    }
    *out = pg;
    return RC_OK;
}

void pg_close(struct pg **pg)
{
    if (!*pg)
        return;
    PQfinish((*pg)->conn);
    if ((*pg)->socket >= 0)
        close((*pg)->socket);
    lock_deinit(&(*pg)->lock);
    free(*pg);
    *pg = NULL;
}

bool pg_is_open(const struct pg *pg)
{
    return pg && !atomic_load(&pg->is_lost);
}
