/*
 * The life of a call, in libpq's pipeline mode:
 *
 *   send [Parse] Bind Execute Sync ─► [parse result] ─► rows ─► sync
 *
 * One exchange even when the statement is new. The rows come before the server commits; only the
 * sync says that the transaction ended well. So a connection that breaks between the two leaves
 * the call UNCERTAIN although its rows are here.
 *
 * Several threads may have a call on its way on one connection, which costs a far server no more
 * round trips than one call. Each adds its flight to the end of a list and sends; the answers come
 * in that order. Whoever finds nobody receiving does so for all, until its own answer is here, and
 * then passes the turn on. The lock is dropped while waiting for the socket only.
 *
 *   a flight        in the list   is_done   its code
 *   on its way      yes           no        the failure that has come, if one has
 *   landed          no            yes       definite; never again touched by others
 */
#include "fs/meta/pg.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/meta/pg_impl.h"

#define STATEMENT_NAME_BYTES 16
#define PUSH_MS              20

/* One call, on the stack of its thread, and what is gathered while its results arrive. */
struct flight {
    /* set before it is sent */
    unsigned index, first_name; /* of its statement */
    bool was_prepared;
    struct pg_words *words;
    struct err *e;

    /* under pg->lock */
    struct flight *next;
    struct lock_cond changed; /* it has landed, or it is its turn to receive */
    enum rc code;
    enum pg_phase phase;
    bool awaits_parse; /* the next result is about the preparation */
    bool is_done;
    PGresult *rows;
};

/* Parameters in the parallel arrays that libpq takes. */
struct bound {
    Oid *oids;
    const char **values;
    int *lengths, *formats;
};

#define PG_PARAMS_MAX 32

/* ---- prepared statements ---- */

/* Where sql is, or where there is room for it; PG_STATEMENTS_MAX: nowhere. */
static unsigned find_statement_locked(const struct pg *pg, const char *sql)
{
    unsigned room = pg->statement_count;
    for (unsigned i = pg->statement_count; i-- > 0;) {
        if (pg->statements[i] == sql)
            return i;
        if (!pg->statements[i])
            room = i;
    }
    return room;
}

/* Those of a connection are gone or stale; new names avoid those that linger. */
static void forget_statements_locked(struct pg *pg)
{
    pg->first_name += pg->statement_count;
    pg->statement_count = 0;
}

/* Who comes next finds it prepared: by then the server has read our Parse. */
static void choose_statement_locked(struct pg *pg, struct flight *f, const char *sql)
{
    f->index = find_statement_locked(pg, sql);
    f->first_name = pg->first_name;
    f->was_prepared = f->index < pg->statement_count && pg->statements[f->index] == sql;
    f->awaits_parse = !f->was_prepared;
    if (f->was_prepared || f->index == PG_STATEMENTS_MAX)
        return;
    pg->statements[f->index] = sql;
    if (f->index == pg->statement_count)
        pg->statement_count++;
}

/*
 * What a failure says of the statement. A preparation that failed has left its name free. One from
 * earlier may have become unusable: a pooler changed the backend, or the functions were installed
 * anew with other columns. Then nothing was done, and with a fresh preparation the call can be made
 * again.
 */
static void judge_statement_locked(struct pg *pg, struct flight *f)
{
    const char *state = f->words->sqlstate;
    const bool is_known = f->first_name == pg->first_name && f->index < PG_STATEMENTS_MAX;
    if (f->awaits_parse && is_known)
        pg->statements[f->index] = NULL;
    if (!f->was_prepared || (strcmp(state, "26000") != 0 && strcmp(state, "0A000") != 0))
        return;
    if (is_known)
        forget_statements_locked(pg);
    f->code =
        err_fail(f->e, RC_STALE, "a prepared statement is no longer valid: %s", f->words->message);
}

/* ---- sending ---- */

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
static enum rc check_idle(struct pg *pg, struct pg_words *words, struct err *e)
{
    *words = (struct pg_words){.sqlstate = ""};
    if (!pg_is_open(pg))
        return pg_lost(pg, PG_NOT_SENT, words, e);
    struct pollfd slot = {.fd = pg->socket, .events = POLLIN};
    while (poll(&slot, 1, 0) > 0) {
        if (!PQconsumeInput(pg->conn))
            return pg_lost(pg, PG_NOT_SENT, words, e);
        (void)PQisBusy(pg->conn); /* lets libpq digest a message that came unasked */
    }
    return RC_OK;
}

/* ---- landing ---- */

static void land_first_locked(struct pg *pg)
{
    struct flight *f = pg->first;
    pg->first = f->next;
    if (!pg->first)
        pg->last_link = &pg->first;
    if (f->code)
        judge_statement_locked(pg, f);
    f->is_done = true;
    lock_signal(&f->changed);
}

/*
 * Nothing will come any more. A server that ends the connection says why first, then is gone: what
 * it said to a flight counts.
 */
static void lose_locked(struct pg *pg)
{
    pg_give_up(pg);
    while (pg->first) {
        struct flight *f = pg->first;
        if (!f->code)
            f->code = pg_lost(pg, f->phase, f->words, f->e);
        land_first_locked(pg);
    }
}

static void time_out_locked(struct pg *pg, struct flight *f)
{
    if (!f->code)
        f->code = err_fail(f->e, RC_TIMEOUT, "PostgreSQL did not answer in time");
    lose_locked(pg);
}

static void keep_rows(struct flight *f, PGresult *result)
{
    PQclear(f->rows);
    f->rows = result;
    f->phase = PG_ANSWERED;
}

/* Take one result of the first flight into account. */
static void digest_locked(struct pg *pg, struct flight *f, PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        land_first_locked(pg);
        return;
    case PGRES_COMMAND_OK:
        if (f->awaits_parse) {
            f->awaits_parse = false;
            PQclear(result);
            return;
        }
        keep_rows(f, result);
        return;
    case PGRES_TUPLES_OK:
        keep_rows(f, result);
        return;
    case PGRES_PIPELINE_ABORTED: /* what follows a failed preparation */
        PQclear(result);
        return;
    default:
        if (!f->code)
            f->code = pg_fail(pg, result, f->phase, f->words, f->e);
        PQclear(result);
        if (!pg_is_open(pg))
            lose_locked(pg);
    }
}

static void take_results_locked(struct pg *pg)
{
    while (pg->first && !PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        if (result)
            digest_locked(pg, pg->first, result);
        else if (PQstatus(pg->conn) == CONNECTION_BAD)
            lose_locked(pg);
    }
}

/* ---- waiting ---- */

/* Drops the lock. 0: the deadline passed. */
static short poll_locked(struct pg *pg, short events, uint64_t deadline_ms)
{
    struct pollfd slot = {.fd = pg->socket, .events = events};
    lock_drop(&pg->lock);
    while (poll(&slot, 1, clock_left(deadline_ms)) <= 0 && clock_left(deadline_ms) > 0)
        slot.revents = 0;
    lock_take(&pg->lock);
    return slot.revents;
}

/* Push what is queued, read what comes, for everybody, until this flight has landed. */
static void receive_locked(struct pg *pg, struct flight *f, uint64_t deadline_ms)
{
    for (;;) {
        const int unsent = PQflush(pg->conn);
        take_results_locked(pg);
        if (f->is_done)
            return;
        if (unsent < 0) {
            lose_locked(pg);
            return;
        }
        short ready = poll_locked(pg, unsent > 0 ? POLLIN | POLLOUT : POLLIN, deadline_ms);
        if (f->is_done)
            return;
        if (ready == 0) {
            time_out_locked(pg, f);
            return;
        }
        if ((ready & ~POLLOUT) && !PQconsumeInput(pg->conn) && PQisBusy(pg->conn)) {
            lose_locked(pg);
            return;
        }
    }
}

/*
 * Wait until some of what is queued can leave, but not for long: a server that waits for its
 * answers to be read takes nothing, and who reads them may leave the turn to us meanwhile.
 */
static bool push_locked(struct pg *pg, uint64_t deadline_ms)
{
    const uint64_t soon_ms = clock_deadline(PUSH_MS);
    (void)poll_locked(pg, POLLOUT, soon_ms < deadline_ms ? soon_ms : deadline_ms);
    return clock_left(deadline_ms) > 0;
}

/* Somebody else receives. What did not leave at once is pushed by who sent it. */
static void wait_locked(struct pg *pg, struct flight *f, uint64_t deadline_ms)
{
    const int unsent = PQflush(pg->conn);
    if (unsent < 0) {
        lose_locked(pg);
        return;
    }
    const bool in_time =
        unsent > 0 ? push_locked(pg, deadline_ms) : lock_wait(&f->changed, &pg->lock, deadline_ms);
    if (!in_time && !f->is_done)
        time_out_locked(pg, f);
}

static void await_locked(struct pg *pg, struct flight *f, uint64_t deadline_ms)
{
    while (!f->is_done) {
        if (pg->is_receiving) {
            wait_locked(pg, f, deadline_ms);
            continue;
        }
        pg->is_receiving = true;
        receive_locked(pg, f, deadline_ms);
        pg->is_receiving = false;
    }
    if (pg->first && !pg->is_receiving)
        lock_signal(&pg->first->changed);
}

/* ---- a call ---- */

/* The transaction has ended well: an answer that cannot be handed over is as good as lost. */
static enum rc hand_out(struct flight *f, struct pg_result **out)
{
    struct pg_result *result = f->rows ? malloc(sizeof(*result)) : NULL;
    if (!result) {
        PQclear(f->rows);
        return err_fail(f->e, RC_UNCERTAIN, "no memory for an answer of PostgreSQL");
    }
    *result = (struct pg_result){.tuples = f->rows};
    *out = result;
    return RC_OK;
}

static enum rc fly_locked(struct pg *pg, struct flight *f, const char *sql,
                          const struct pg_param *params, int count, uint64_t deadline_ms)
{
    if ((!pg->first || !pg_is_open(pg)) && check_idle(pg, f->words, f->e))
        return f->e->code;
    choose_statement_locked(pg, f, sql);
    char name[STATEMENT_NAME_BYTES] = ""; /* beyond the table: unnamed, parsed at each call */
    if (f->index < PG_STATEMENTS_MAX)
        (void)snprintf(name, sizeof(name), "t%u", pg->first_name + f->index);
    *pg->last_link = f;
    pg->last_link = &f->next;
    if (!queue_call(pg, name, f->was_prepared ? NULL : sql, params, count))
        lose_locked(pg);
    await_locked(pg, f, deadline_ms);
    return f->code;
}

enum rc pg_call_shared(struct pg *pg, const char *sql, const struct pg_param *params,
                       int param_count, uint64_t deadline_ms, struct pg_result **out,
                       struct pg_words *words, struct err *e)
{
    *words = (struct pg_words){.sqlstate = ""};
    if (param_count > PG_PARAMS_MAX)
        return err_fail(e, RC_INVALID, "a call has more than %d parameters", PG_PARAMS_MAX);
    struct flight f = {.words = words, .e = e, .phase = PG_SENT};
    lock_cond_init(&f.changed);
    lock_take(&pg->lock);
    enum rc rc = fly_locked(pg, &f, sql, params, param_count, deadline_ms);
    lock_drop(&pg->lock);
    lock_cond_deinit(&f.changed);
    if (!rc)
        return hand_out(&f, out);
    PQclear(f.rows);
    return rc;
}

enum rc pg_call(struct pg *pg, const char *sql, const struct pg_param *params, int param_count,
                uint64_t deadline_ms, struct pg_result **out, struct err *e)
{
    return pg_call_shared(pg, sql, params, param_count, deadline_ms, out, &pg->words, e);
}

/* ---- scripts ---- */

/* Push what is queued, read what comes, until a result can be taken without blocking. */
static enum rc await_result(struct pg *pg, uint64_t deadline_ms, struct err *e)
{
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent == 0 && !PQisBusy(pg->conn))
            return RC_OK;
        short ready;
        short events = (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
        if (unsent < 0)
            return pg_lost(pg, PG_SENT, &pg->words, e);
        if (pg_wait(pg, events, &ready, deadline_ms, e)) {
            pg_give_up(pg);
            return e->code;
        }
        if ((ready & ~POLLOUT) && !PQconsumeInput(pg->conn) && PQisBusy(pg->conn))
            return pg_lost(pg, PG_SENT, &pg->words, e);
    }
}

enum rc pg_script(struct pg *pg, const char *sql, uint64_t deadline_ms, struct err *e)
{
    if (check_idle(pg, &pg->words, e))
        return e->code;
    if (!PQexitPipelineMode(pg->conn) || !PQsendQuery(pg->conn, sql))
        return pg_lost(pg, PG_SENT, &pg->words, e);

    enum rc rc = RC_OK;
    for (;;) {
        struct err late = ERR_INIT;
        if (await_result(pg, deadline_ms, &late)) {
            if (!rc)
                *e = late;
            return rc ? rc : late.code;
        }
        PGresult *result = PQgetResult(pg->conn);
        if (!result) {
            if (PQstatus(pg->conn) == CONNECTION_BAD)
                pg_give_up(pg);
            return rc;
        }
        ExecStatusType status = PQresultStatus(result);
        if (!rc && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            rc = pg_fail(pg, result, PG_SENT, &pg->words, e);
        PQclear(result);
        if (!pg_is_open(pg))
            return rc;
    }
}
