/*
 * primary - the commands of tarn-primary. Each takes its own argv (argv[0] is its name), prints
 * what it did or one line about why it could not, and answers an exit code of fs/base/conf.h.
 *
 * Threads   the main thread
 * Blocking  on PostgreSQL and the object store
 */
#ifndef PRIMARY_PRIMARY_H
#define PRIMARY_PRIMARY_H

#include <stdbool.h>

#include "fs/base/err.h"
#include "fs/base/json.h"
#include "fs/meta/pg.h"

int primary_format(int argc, char **argv);
int primary_adopt(int argc, char **argv);
int primary_run(int argc, char **argv);
int primary_status(int argc, char **argv);
int primary_mark(int argc, char **argv);
int primary_destroy(int argc, char **argv);

#define PRIMARY_CONNECT_MS 10000
#define PRIMARY_CALL_MS    60000

MUST_CHECK enum rc primary_connect(struct pg **out, const char *url, struct err *e);

/*
 * Install what is missing and make the database the primary called site (NULL: keep its name). One
 * line for each change goes to stdout, or to *steps when that is given.
 */
MUST_CHECK enum rc primary_take(struct pg *pg, const char *site, struct json *steps, struct err *e);

/* Fail: there is no schema tarn here. Exits with EXIT_NOT_FORMATTED. */
enum rc primary_not_adopted(struct err *e);

#endif
