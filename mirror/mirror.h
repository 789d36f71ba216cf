/*
 * mirror - the commands of tarn-mirror, and what they share. Each command takes its own argv
 * (argv[0] is its name), prints what it did or one line about why it could not, and answers an exit
 * code of fs/base/conf.h.
 *
 * Threads   the main thread; the agent's work runs on its worker
 * Blocking  on both PostgreSQL servers
 */
#ifndef MIRROR_MIRROR_H
#define MIRROR_MIRROR_H

#include "fs/base/err.h"
#include "fs/meta/pg.h"

int mirror_join(int argc, char **argv);
int mirror_run(int argc, char **argv);
int mirror_status(int argc, char **argv);
int mirror_audit(int argc, char **argv);
int mirror_leave(int argc, char **argv);
int mirror_wait(int argc, char **argv);
int mirror_promote(int argc, char **argv);
int mirror_demote(int argc, char **argv);
int mirror_repoint(int argc, char **argv);
int mirror_rejoin(int argc, char **argv);
int mirror_reseed(int argc, char **argv);

#define MIRROR_CONNECT_MS 10000
#define MIRROR_CALL_MS    60000
/* The primary may be behind a broken line: what is only asked for information waits briefly. */
#define MIRROR_ASK_MS 3000

MUST_CHECK enum rc mirror_connect(struct pg **out, const char *url, const char *password,
                                  uint64_t wait_ms, struct err *e);

/* Connect if there is no connection or it broke. */
MUST_CHECK enum rc mirror_reconnect(struct pg **pg, const char *url, const char *password,
                                    struct err *e);

/* A call of one text parameter (NULL text: without) whose answer is dropped. */
MUST_CHECK enum rc mirror_do(struct pg *pg, const char *sql, const char *text, struct err *e);

/* The same with a secret, which the server's log and statistics do not get to see. */
MUST_CHECK enum rc mirror_do_hushed(struct pg *pg, const char *sql, const char *secret,
                                    struct err *e);

/*
 * Connect to the server that this mirror follows, as the subscription does; where only a superuser
 * may read that, by its URL, with TARN_PRIMARY_PASSWORD or libpq's own ways. A mirror of a mirror
 * follows another mirror. RC_NOT_FOUND: there is no subscription.
 */
MUST_CHECK enum rc mirror_connect_primary(struct pg *own, struct pg **out, uint64_t wait_ms,
                                          struct err *e);

/*
 * Connect to the primary itself, where writes go: by url, or (NULL) as the mirror knows it.
 * password NULL: TARN_PRIMARY_PASSWORD, then as above.
 */
MUST_CHECK enum rc mirror_connect_home(struct pg *own, const char *url, const char *password,
                                       uint64_t wait_ms, struct pg **out, struct err *e);

/* The lock that lets one agent, or one join, work at this mirror at a time. */
MUST_CHECK enum rc mirror_lock(struct pg *own, bool *is_ours, struct err *e);

#endif
