/*
 * pg - libpq's home: a connection, prepared calls with binary parameters, typed results.
 *
 * The only module that knows libpq, and the only table from SQLSTATE to enum rc. Secrets never
 * appear in an error's text.
 *
 * Threads   pg_call_shared(): any number at once; the rest: one thread at a time
 * Blocking  every call waits for the server until its deadline
 */
#ifndef FS_META_PG_H
#define FS_META_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

struct pg;
struct pg_result;

struct pg_options {
    const char *url;
    const char *application; /* application_name */
    const char *password;    /* NULL: the URL's passfile, META_PASSWORD, libpq's own ways */
    bool is_replication;     /* replication=database */
};

MUST_CHECK enum rc pg_open(struct pg **out, const struct pg_options *options, uint64_t deadline_ms,
                           struct err *e);
void pg_close(struct pg **pg);
bool pg_is_open(const struct pg *pg);
/*
 * Let nobody use the connection any more, and wake who waits for its socket: what is on its way
 * ends as UNCERTAIN. Any thread.
 */
void pg_give_up(struct pg *pg);

/* A parameter in binary form, or NULL. Built by the helpers below; borrowed until the call ends. */
struct pg_param {
    uint32_t oid;
    const void *data; /* NULL: SQL NULL */
    int size;
    uint8_t small[8]; /* where a scalar keeps its bytes */
};
struct pg_param pg_int4(int32_t v);
struct pg_param pg_int8(int64_t v);
struct pg_param pg_bool(bool v);
struct pg_param pg_text(const char *v); /* NULL: SQL NULL */
struct pg_param pg_bytea(struct bytes v);
struct pg_param pg_null(uint32_t oid);
/* One-dimensional arrays, encoded into scratch (which must outlive the call). */
MUST_CHECK enum rc pg_int4_array(struct buf *scratch, const int32_t *v, size_t n,
                                 struct pg_param *out, struct err *e);
MUST_CHECK enum rc pg_int8_array(struct buf *scratch, const int64_t *v, size_t n,
                                 struct pg_param *out, struct err *e);
MUST_CHECK enum rc pg_bytea_array(struct buf *scratch, const struct bytes *v, size_t n,
                                  struct pg_param *out, struct err *e);

/*
 * Run sql with parameters, prepared once per connection under the address of the literal (so sql
 * must be a string constant), results in binary. Free *out with pg_result_free().
 *
 * RC_UNCERTAIN    the call was sent and the answer lost
 * RC_UNAVAILABLE  it was certainly not carried out: not connected, or refused (57P0x, 53300)
 * RC_STALE        serialization failure or deadlock: nothing was done, try again
 * RC_TIMEOUT      deadline passed; the connection is closed, treat a mutation as UNCERTAIN
 */
MUST_CHECK enum rc pg_call(struct pg *pg, const char *sql, const struct pg_param *params,
                           int param_count, uint64_t deadline_ms, struct pg_result **out,
                           struct err *e);

/* What the server said of a failure: "" without one. Never a password. */
#define PG_SQLSTATE_BYTES 6
#define PG_MESSAGE_BYTES  512
struct pg_words {
    char sqlstate[PG_SQLSTATE_BYTES];
    char message[PG_MESSAGE_BYTES];
};

/*
 * The same beside other calls on the same connection: all are sent at once, and answered in the
 * order of their sending, each in a transaction of its own. A failure of one leaves the others
 * alone; a loss of the connection, or a deadline that passes, ends all (the others as UNCERTAIN).
 * *words is the caller's.
 */
MUST_CHECK enum rc pg_call_shared(struct pg *pg, const char *sql, const struct pg_param *params,
                                  int param_count, uint64_t deadline_ms, struct pg_result **out,
                                  struct pg_words *words, struct err *e);

/* Run a script of statements without parameters (schema installation, DDL). */
MUST_CHECK enum rc pg_script(struct pg *pg, const char *sql, uint64_t deadline_ms, struct err *e);

void pg_result_free(struct pg_result **result);
#define auto_result __attribute__((cleanup(pg_result_free)))
int pg_rows(const struct pg_result *result);
/* Show it as one without rows, whatever stands in its rows. */
void pg_hide_rows(struct pg_result *result);
/* Column by name, or -1. Resolve once per result, not per row. */
int pg_column(const struct pg_result *result, const char *name);
bool pg_is_null(const struct pg_result *result, int row, int column);
/* NULL reads as 0 / false / empty. Wrong widths read as 0 too: they are our own mistake (assert).
 */
int32_t pg_get_int4(const struct pg_result *result, int row, int column);
int64_t pg_get_int8(const struct pg_result *result, int row, int column);
bool pg_get_bool(const struct pg_result *result, int row, int column);
/* Borrowed from the result; text is NUL-terminated; text of a NULL is NULL. */
struct bytes pg_get_bytes(const struct pg_result *result, int row, int column);
const char *pg_get_text(const struct pg_result *result, int row, int column);
/* Decode a one-dimensional int8[]; *out is malloc'ed; NULL is an empty array. */
MUST_CHECK enum rc pg_get_int8_array(const struct pg_result *result, int row, int column,
                                     int64_t **out, size_t *count, struct err *e);

/* The SQLSTATE of the last failure of pg_open(), pg_call() or pg_script(), "" if none. */
const char *pg_sqlstate(const struct pg *pg);
/* The server's message of the last failure, verbatim (never a password), "" if none. */
const char *pg_message(const struct pg *pg);

#endif
