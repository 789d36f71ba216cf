#include "fs/meta/pg_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

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

static void remember(struct pg_words *words, const char *sqlstate, const char *message)
{
    (void)snprintf(words->sqlstate, sizeof(words->sqlstate), "%s", sqlstate ? sqlstate : "");
    copy_line(words->message, sizeof(words->message), message, strcspn(message, "\n"));
}

enum rc pg_fail(struct pg *pg, const PGresult *result, enum pg_phase phase, struct pg_words *words,
                struct err *e)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!sqlstate)
        return pg_lost(pg, phase, words, e);

    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    remember(words, sqlstate, primary ? primary : "no message");
    int posix;
    enum rc code = pg_rc(words->sqlstate, phase, &posix);
    if (code == RC_REFUSED)
        return err_refused(e, posix, "PostgreSQL refused: %s", words->message);
    return err_fail(e, code, "PostgreSQL says: %s (SQLSTATE %s)", words->message, words->sqlstate);
}

void pg_give_up(struct pg *pg)
{
    if (!atomic_exchange(&pg->is_lost, true) && pg->socket >= 0)
        (void)shutdown(pg->socket, SHUT_RDWR);
}

enum rc pg_lost(struct pg *pg, enum pg_phase phase, struct pg_words *words, struct err *e)
{
    if (!words->sqlstate[0]) /* else the server said before what became of it, and that counts */
        remember(words, "", pg->conn ? PQerrorMessage(pg->conn) : "not connected");
    pg_give_up(pg);
    if (phase == PG_NOT_SENT)
        return err_fail(e, RC_UNAVAILABLE, "no connection to PostgreSQL: %s", words->message);
    return err_fail(e, RC_UNCERTAIN, "lost the connection to PostgreSQL before its answer: %s",
                    words->message);
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
static void read_connect_text(struct pg_words *words, const char *text)
{
    remember(words, NULL, text);
    for (const char *line = text; *line;) {
        size_t size = strcspn(line, "\n");
        const char *code = find_sqlstate(line, size);
        if (code) {
            (void)snprintf(words->sqlstate, sizeof(words->sqlstate), "%.5s", code);
            copy_line(words->message, sizeof(words->message), code + 7,
                      size - (size_t)(code + 7 - line));
        }
        line += size + (line[size] == '\n');
    }
}

enum rc pg_connect_failed(struct pg *pg, struct err *e)
{
    struct pg_words *words = &pg->words;
    read_connect_text(words, PQerrorMessage(pg->conn));
    scrub(words->message, PQpass(pg->conn));

    int posix = 0;
    enum rc code =
        words->sqlstate[0] ? pg_rc(words->sqlstate, PG_NOT_SENT, &posix) : RC_UNAVAILABLE;
    if (PQconnectionNeedsPassword(pg->conn))
        code = RC_DENIED;
    pg_give_up(pg);
    return err_fail(e, code, "could not connect to PostgreSQL: %s", words->message);
}

const char *pg_sqlstate(const struct pg *pg)
{
    return pg->words.sqlstate;
}

const char *pg_message(const struct pg *pg)
{
    return pg->words.message;
}
