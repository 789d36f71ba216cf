/*
 * pg_impl - what the files of the module pg share: the connection, and how errors are read.
 *
 * Private to fs/meta/pg*.c.
 */
#ifndef FS_META_PG_IMPL_H
#define FS_META_PG_IMPL_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "fs/base/lock.h"
#include "fs/meta/pg.h"

#define PG_STATEMENTS_MAX 128

struct flight; /* a call on its way, see pg.c */

struct pg {
    PGconn *conn;          /* NULL: was never connected */
    int socket;            /* a second descriptor, which libpq does not close under who polls it */
    atomic_bool is_lost;   /* nothing is sent or read any more */
    struct pg_words words; /* of the last pg_call() or pg_script() */

    struct lock lock;                  /* guards the rest, and conn once it is connected */
    struct flight *first, **last_link; /* in the order of their sending */
    bool is_receiving;                 /* somebody waits for the socket on behalf of all */

    /* Statement i (NULL: free) is prepared, or about to be, under the name "t<first_name + i>". */
    const char *statements[PG_STATEMENTS_MAX];
    unsigned statement_count;
    unsigned first_name;
};

struct pg_result {
    PGresult *tuples;
    bool is_hidden; /* its rows are not the caller's */
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

/* Fail with a server's error: fills *words, returns the code of pg_rc(); as pg_lost() without one.
 */
enum rc pg_fail(struct pg *pg, const PGresult *result, enum pg_phase phase, struct pg_words *words,
                struct err *e);

/* The connection is lost. Fail: UNAVAILABLE if nothing was sent, else UNCERTAIN. */
enum rc pg_lost(struct pg *pg, enum pg_phase phase, struct pg_words *words, struct err *e);

/* Fail to connect: libpq keeps the SQLSTATE of a refused start-up in its text only. */
enum rc pg_connect_failed(struct pg *pg, struct err *e);

/* Wait until the socket is ready for events (POLLIN, POLLOUT). RC_TIMEOUT at the deadline. */
MUST_CHECK enum rc pg_wait(struct pg *pg, short events, short *ready, uint64_t deadline_ms,
                           struct err *e);

#endif
