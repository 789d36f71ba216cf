/*
 * The life of a call, in libpq's pipeline mode:
 *
 *   send [Parse] Bind Execute Sync ─► [parse result] ─► rows ─► sync
 *
 * One exchange even when the statement is new. The rows come before the server commits; only the
 * sync says that the transaction ended well. So a connection that breaks between the two leaves
 * the call UNCERTAIN although its rows are here.
 */
#include "fs/meta/pg.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "fs/meta/pg_impl.h"

#define STATEMENT_NAME_BYTES 16

/* What is gathered while the results of one call arrive. */
struct answer {
    enum rc code;
    enum pg_phase phase;
    bool awaits_parse; /* the next result is about the preparation */
    bool is_prepared;  /* the server knows the statement now */
    PGresult *rows;
};

/* Parameters in the parallel arrays that libpq takes. */
struct bound {
    Oid *oids;
    const char **values;
    int *lengths, *formats;
};

#define PG_PARAMS_MAX 32

static unsigned find_statement(const struct pg *pg, const char *sql)
{
    unsigned i = 0;
    while (i < pg->statement_count && pg->statements[i] != sql)
        i++;
    return i;
}

/* Prepared statements of a connection are gone or stale; new names avoid those that linger. */
static void forget_statements(struct pg *pg)
{
    pg->first_name += pg->statement_count;
    pg->statement_count = 0;
}

static void bind(const struct pg_param *params, int count, struct bound *to)
{
    for (int i = 0; i < count; i++) {
        const void *data = params[i].data == pg_in_small ? params[i].small : params[i].data;
        to->oids[i] = params[i].oid;
        to->values[i] = data;
        to->lengths[i] = params[i].size;
        to->formats[i] = 1;
    }
}

/* Queue the messages of one call; they leave with the next flush. */
static bool queue_call(struct pg *pg, const char *name, const char *parse_sql,
                       const struct pg_param *params, int count)
{
    Oid oids[PG_PARAMS_MAX];
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    bind(params, count, &(struct bound){oids, values, lengths, formats});

    if (PQpipelineStatus(pg->conn) == PQ_PIPELINE_OFF && !PQenterPipelineMode(pg->conn))
        return false;
    if (parse_sql && !PQsendPrepare(pg->conn, name, parse_sql, count, oids))
        return false;
    return PQsendQueryPrepared(pg->conn, name, count, values, lengths, formats, 1) &&
           PQpipelineSync(pg->conn);
}

/*
 * Notice a connection that died while it was idle before anything is sent on it: then the request
 * was certainly not carried out.
 */
static enum rc check_idle(struct pg *pg, struct err *e)
{
    if (!pg_is_open(pg))
        return pg_lost(pg, PG_NOT_SENT, e);
    struct pollfd slot = {.fd = PQsocket(pg->conn), .events = POLLIN};
    while (poll(&slot, 1, 0) > 0) {
        if (!PQconsumeInput(pg->conn))
            return pg_lost(pg, PG_NOT_SENT, e);
        (void)PQisBusy(pg->conn); /* lets libpq digest a message that came unasked */
    }
    return RC_OK;
}

static enum rc timed_out(struct pg *pg, struct err *e)
{
    PQfinish(pg->conn);
    pg->conn = NULL;
    return e->code;
}

/* Push what is queued, read what comes, until a result can be taken without blocking. */
static enum rc await_result(struct pg *pg, enum pg_phase phase, uint64_t deadline_ms, struct err *e)
{
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent == 0 && !PQisBusy(pg->conn))
            return RC_OK;
        short ready;
        short events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
        if (unsent < 0)
            return pg_lost(pg, phase, e);
        if (pg_wait(pg, events, &ready, deadline_ms, e))
            return timed_out(pg, e);
        if ((ready & ~POLLOUT) && !PQconsumeInput(pg->conn) && PQisBusy(pg->conn))
            return pg_lost(pg, phase, e);
    }
}

static void keep_rows(struct answer *answer, PGresult *result)
{
    PQclear(answer->rows);
    answer->rows = result;
    answer->phase = PG_ANSWERED;
}

/* Take one result into account. True when it was the last one. */
static bool digest(struct pg *pg, PGresult *result, struct answer *answer, struct err *e)
{
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        return true;
    case PGRES_COMMAND_OK:
        if (answer->awaits_parse) {
            answer->awaits_parse = false;
            answer->is_prepared = true;
            PQclear(result);
            return false;
        }
        keep_rows(answer, result);
        return false;
    case PGRES_TUPLES_OK:
        keep_rows(answer, result);
        return false;
    case PGRES_PIPELINE_ABORTED: /* what follows a failed preparation */
        PQclear(result);
        return false;
    default:
        if (!answer->code)
            answer->code = pg_fail(pg, result, answer->phase, e);
        PQclear(result);
        return !pg->conn;
    }
}

/*
 * Read results up to the sync. A server that ends the connection says why first, then is gone:
 * what it said counts, unless the rows had come already.
 */
static enum rc collect(struct pg *pg, uint64_t deadline_ms, struct answer *answer, struct err *e)
{
    for (;;) {
        struct err late = ERR_INIT;
        enum rc rc = await_result(pg, answer->phase, deadline_ms, &late);
        if (rc && answer->code)
            return answer->code;
        if (rc) {
            *e = late;
            return rc;
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result && PQstatus(pg->conn) == CONNECTION_BAD)
            return answer->code ? answer->code : pg_lost(pg, answer->phase, e);
        if (result && digest(pg, result, answer, e))
            return answer->code;
    }
}

/*
 * A statement prepared earlier may have become unusable: a pooler changed the backend, or the
 * functions were installed anew with other columns. Nothing was done; with a fresh preparation the
 * call can be made again.
 */
static enum rc after_failure(struct pg *pg, bool was_prepared, enum rc rc, struct err *e)
{
    bool is_unusable = strcmp(pg->sqlstate, "26000") == 0 || strcmp(pg->sqlstate, "0A000") == 0;
    if (!was_prepared || !pg->conn || !is_unusable)
        return rc;
    forget_statements(pg);
    return err_fail(e, RC_STALE, "a prepared statement is no longer valid: %s", pg->message);
}

/* The transaction has ended well: an answer that cannot be handed over is as good as lost. */
static enum rc hand_out(struct answer *answer, struct pg_result **out, struct err *e)
{
    struct pg_result *result = answer->rows ? malloc(sizeof(*result)) : NULL;
    if (!result) {
        PQclear(answer->rows);
        return err_fail(e, RC_UNCERTAIN, "no memory for an answer of PostgreSQL");
    }
    result->tuples = answer->rows;
    *out = result;
    return RC_OK;
}

enum rc pg_call(struct pg *pg, const char *sql, const struct pg_param *params, int param_count,
                uint64_t deadline_ms, struct pg_result **out, struct err *e)
{
    if (param_count > PG_PARAMS_MAX)
        return err_fail(e, RC_INVALID, "a call has more than %d parameters", PG_PARAMS_MAX);
    pg->sqlstate[0] = pg->message[0] = '\0';
    if (check_idle(pg, e))
        return e->code;

    unsigned index = find_statement(pg, sql);
    bool was_prepared = index < pg->statement_count;
    char name[STATEMENT_NAME_BYTES] = ""; /* beyond the table: unnamed, parsed at each call */
    if (index < PG_STATEMENTS_MAX)
        (void)snprintf(name, sizeof(name), "t%u", pg->first_name + index);
    if (!queue_call(pg, name, was_prepared ? NULL : sql, params, param_count))
        return pg_lost(pg, PG_SENT, e);

    struct answer answer = {.phase = PG_SENT, .awaits_parse = !was_prepared};
    enum rc rc = collect(pg, deadline_ms, &answer, e);
    if (answer.is_prepared && index < PG_STATEMENTS_MAX && pg->conn) {
        pg->statements[index] = sql;
        pg->statement_count = index + 1;
    }
    if (!rc)
        return hand_out(&answer, out, e);
    PQclear(answer.rows);
    return after_failure(pg, was_prepared, rc, e);
}

enum rc pg_script(struct pg *pg, const char *sql, uint64_t deadline_ms, struct err *e)
{
    pg->sqlstate[0] = pg->message[0] = '\0';
    if (check_idle(pg, e))
        return e->code;
    if (!PQexitPipelineMode(pg->conn) || !PQsendQuery(pg->conn, sql))
        return pg_lost(pg, PG_SENT, e);

    enum rc rc = RC_OK;
    for (;;) {
        struct err late = ERR_INIT;
        if (await_result(pg, PG_SENT, deadline_ms, &late)) {
            if (!rc)
                *e = late;
            return rc ? rc : late.code;
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result)
            return rc;
        ExecStatusType status = PQresultStatus(result);
        if (!rc && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            rc = pg_fail(pg, result, PG_SENT, e);
        PQclear(result);
        if (!pg->conn)
            return rc;
    }
}
