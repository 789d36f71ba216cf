/*
 * server - a PostgreSQL that a handle talks to: the one of its own site, or the primary's.
 *
 * It makes one attempt at a call and says how that went; whether to make another is for retry.h. A
 * server that nobody could connect to is away until somebody can; who may not wait for it need not
 * try, then.
 *
 * Private to fs/meta.
 *
 * Threads any · Blocking server_call() until its deadline
 */
#ifndef FS_META_SERVER_H
#define FS_META_SERVER_H

#include <stdatomic.h>

#include "fs/meta/conn_pool.h"
#include "fs/meta/retry.h"

struct server {
    /* set at open */
    char *url;
    const char *password;    /* NULL: META_PASSWORD, then libpq's own ways; "": these alone */
    const char *application; /* both borrowed */
    uint64_t connect_timeout_ms;
    bool is_far;         /* of another site */
    struct server *next; /* of the handle's list */

    /* safe for any thread by themselves */
    struct conn_pool conns;
    atomic_bool is_away;
    _Atomic uint64_t exchanges;
};

struct server_options {
    const char *url, *password, *application;
    unsigned max_conns;
    uint64_t connect_timeout_ms;
    bool is_far;
};

/* Connects to nobody yet. */
MUST_CHECK enum rc server_open(struct server **out, const struct server_options *options,
                               struct err *e);
void server_close(struct server **server);

/* One attempt. The codes are those of pg_call_shared(); *words is the caller's. */
MUST_CHECK enum rc server_call(struct server *server, const struct call *call, uint64_t deadline_ms,
                               struct pg_result **out, struct pg_words *words, struct err *e);

#endif
