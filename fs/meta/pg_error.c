#include "fs/meta/pg_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A row stands for every SQLSTATE that begins with prefix; the first match counts. */
struct sqlstate_row {
    const char *prefix;
    enum rc code;
};

static const struct sqlstate_row sqlstates[] = {
    {"08", RC_UNAVAILABLE},    /* connection exception */
    {"25006", RC_REFUSED},     /* read-only transaction: EROFS */
    {"26000", RC_STALE},       /* a pooler gave us another backend: prepare again */
    {"28", RC_DENIED},         /* invalid authorization */
    {"3D000", RC_NOT_FOUND},   /* no such database */
    {"3F000", RC_NOT_FOUND},   /* no such schema */
    {"40001", RC_STALE},       /* serialization failure */
    {"40P01", RC_STALE},       /* deadlock */
    {"42501", RC_DENIED},      /* insufficient privilege */
    {"42704", RC_NOT_FOUND},   /* no such object */
    {"42883", RC_NOT_FOUND},   /* no such function */
    {"42P01", RC_NOT_FOUND},   /* no such table */
    {"42P06", RC_EXISTS},      /* schema exists */
    {"42P07", RC_EXISTS},      /* table exists */
    {"42710", RC_EXISTS},      /* object exists */
    {"53100", RC_NO_SPACE},    /* disk full */
    {"53300", RC_UNAVAILABLE}, /* too many connections */
    {"55P03", RC_STALE},       /* lock not available */
    {"57014", RC_UNAVAILABLE}, /* statement_timeout or a cancel: rolled back */
    {"57P", RC_UNAVAILABLE},   /* shutting down, starting up, terminated */
};

/*
 * Class 08 comes from a pooler that lost its server, and 57P02 from a server that is crashing;
 * both can follow a commit. A termination after the rows can as well: the commit comes between.
 */
static bool may_hide_a_commit(const char *sqlstate, enum pg_phase phase)
{
    if (phase == PG_NOT_SENT)
        return false;
    return strncmp(sqlstate, "08", 2) == 0 || strcmp(sqlstate, "57P02") == 0 ||
           (phase == PG_ANSWERED && strncmp(sqlstate, "57P", 3) == 0);
}

/* "TN" and three digits: an errno that a function raised to undo its work. 0: something else. */
static int raised_errno(const char *sqlstate)
{
    if (strncmp(sqlstate, "TN", 2) != 0)
        return 0;
    int value = 0;
    for (int i = 2; i < 5; i++) {
        if (!isdigit((unsigned char)sqlstate[i]))
            return 0;
        value = value * 10 + (sqlstate[i] - '0');
    }
    return value;
}

enum rc pg_rc(const char *sqlstate, enum pg_phase phase, int *posix)
{
    *posix = raised_errno(sqlstate);
    if (*posix)
        return RC_REFUSED;
    if (may_hide_a_commit(sqlstate, phase))
        return RC_UNCERTAIN;
    for (size_t i = 0; i < sizeof(sqlstates) / sizeof(sqlstates[0]); i++) {
        if (strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) != 0)
            continue;
        if (sqlstates[i].code == RC_REFUSED)
            *posix = EROFS;
        return sqlstates[i].code;
    }
    return RC_IO;
}

/* One line of size bytes, without blanks at its end, cut to fit. */
static void copy_line(char *to, size_t to_bytes, const char *line, size_t size)
{
    while (size > 0 && isspace((unsigned char)line[size - 1]))
        size--;
    (void)snprintf(to, to_bytes, "%.*s", (int)(size < to_bytes ? size : to_bytes - 1), line);
}

static void remember(struct pg *pg, const char *sqlstate, const char *message)
{
    (void)snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%s", sqlstate ? sqlstate : "");
    copy_line(pg->message, sizeof(pg->message), message, strcspn(message, "\n"));
}

enum rc pg_fail(struct pg *pg, const PGresult *result, enum pg_phase phase, struct err *e)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!sqlstate)
        return pg_lost(pg, phase, e);

    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    remember(pg, sqlstate, primary ? primary : "no message");
    int posix;
    enum rc code = pg_rc(pg->sqlstate, phase, &posix);
    if (code == RC_REFUSED)
        return err_refused(e, posix, "PostgreSQL refused: %s", pg->message);
    return err_fail(e, code, "PostgreSQL says: %s (SQLSTATE %s)", pg->message, pg->sqlstate);
}

enum rc pg_lost(struct pg *pg, enum pg_phase phase, struct err *e)
{
    if (!pg->sqlstate[0]) /* else the server said before what became of the call, and that counts */
        remember(pg, "", pg->conn ? PQerrorMessage(pg->conn) : "not connected");
    PQfinish(pg->conn);
    pg->conn = NULL;
    if (phase == PG_NOT_SENT)
        return err_fail(e, RC_UNAVAILABLE, "no connection to PostgreSQL: %s", pg->message);
    return err_fail(e, RC_UNCERTAIN, "lost the connection to PostgreSQL before its answer: %s",
                    pg->message);
}

/* Put **** over the password wherever it stands in text. */
static void scrub(char *text, const char *password)
{
    if (!password || !*password)
        return;
    const size_t size = strlen(password);
    for (char *at = text; (at = strstr(at, password)) != NULL; at += size)
        memset(at, '*', size);
}

/* In "FATAL:  28P01: text" the five characters; NULL if the line has none. */
static const char *find_sqlstate(const char *line, size_t size)
{
    for (size_t i = 0; i + 10 <= size; i++) {
        const char *at = line + i;
        if (strncmp(at, ":  ", 3) == 0 && strncmp(at + 8, ": ", 2) == 0 &&
            strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5)
            return at + 3;
    }
    return NULL;
}

/*
 * libpq tells several hosts and attempts apart by lines. The last line with an SQLSTATE is the
 * server's word; else the first line says why nobody was reached.
 */
static void read_connect_text(struct pg *pg, const char *text)
{
    remember(pg, NULL, text);
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        const char *code = find_sqlstate(line, size);
        if (code) {
            (void)snprintf(pg->sqlstate, sizeof(pg->sqlstate), "%.5s", code);
            copy_line(pg->message, sizeof(pg->message), code + 7, size - (size_t)(code + 7 - line));
        }
        line += size + (line[size] == '\n');
    }
}

enum rc pg_connect_failed(struct pg *pg, struct err *e)
{
    read_connect_text(pg, PQerrorMessage(pg->conn));
    scrub(pg->message, PQpass(pg->conn));

    int posix = 0;
    enum rc code = pg->sqlstate[0] ? pg_rc(pg->sqlstate, PG_NOT_SENT, &posix) : RC_UNAVAILABLE;
    if (PQconnectionNeedsPassword(pg->conn))
        code = RC_DENIED;
    PQfinish(pg->conn);
    pg->conn = NULL;
    return err_fail(e, code, "could not connect to PostgreSQL: %s", pg->message);
}

const char *pg_sqlstate(const struct pg *pg)
{
    return pg->sqlstate;
}

const char *pg_message(const struct pg *pg)
{
    return pg->message;
}
