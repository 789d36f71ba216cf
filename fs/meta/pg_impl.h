/*
 * pg_impl - what the files of the module pg share: the connection, and how errors are read.
 *
 * Private to fs/meta/pg*.c.
 */
#ifndef FS_META_PG_IMPL_H
#define FS_META_PG_IMPL_H

#include <libpq-fe.h>

#include "fs/meta/pg.h"

#define PG_STATEMENTS_MAX 128
#define PG_SQLSTATE_BYTES 6
#define PG_MESSAGE_BYTES  512

struct pg {
    PGconn *conn; /* NULL once it is known to be lost */
    char sqlstate[PG_SQLSTATE_BYTES];
    char message[PG_MESSAGE_BYTES];

    /* Statement i is prepared under the name "t<first_name + i>". */
    const char *statements[PG_STATEMENTS_MAX];
    unsigned statement_count;
    unsigned first_name;
};

struct pg_result {
    PGresult *tuples;
};

/* Where a scalar parameter's data points to say "in small": the struct is copied by value. */
extern const uint8_t pg_in_small[1];

/* How far a request had come when its error was seen. */
enum pg_phase {
    PG_NOT_SENT, /* nothing can have been carried out */
    PG_SENT,     /* it may have been carried out if the connection is lost */
    PG_ANSWERED, /* the rows came, the end of the transaction did not */
};

/* The only table from SQLSTATE to enum rc. *posix is set with RC_REFUSED. */
enum rc pg_rc(const char *sqlstate, enum pg_phase phase, int *posix);

/* Fail with a server's error: remembers SQLSTATE and message, returns the code of pg_rc(). */
enum rc pg_fail(struct pg *pg, const PGresult *result, enum pg_phase phase, struct err *e);

/* Close after a loss or a time-out, and fail: UNAVAILABLE if nothing was sent, else UNCERTAIN. */
enum rc pg_lost(struct pg *pg, enum pg_phase phase, struct err *e);

/* Fail to connect: libpq keeps the SQLSTATE of a refused start-up in its text only. */
enum rc pg_connect_failed(struct pg *pg, struct err *e);

/* Wait until the socket is ready for events (POLLIN, POLLOUT). RC_TIMEOUT at the deadline. */
MUST_CHECK enum rc pg_wait(struct pg *pg, short events, short *ready, uint64_t deadline_ms,
                           struct err *e);

#endif
