/*
 * conninfo - the two forms of the primary's URL: with the secret, for the subscription, and
 * without, for everybody else.
 *
 * Threads any · Blocking never
 */
#ifndef MIRROR_CONNINFO_H
#define MIRROR_CONNINFO_H

#include "fs/base/buf.h"
#include "fs/base/err.h"

/*
 * Append the connection string of the subscription: the URL, with the password (NULL or "": none)
 * or the passfile (a path that the mirror's PostgreSQL can read; NULL: none) added as parameters
 * where the URL itself has none.
 */
MUST_CHECK enum rc conninfo_secret(const char *url, const char *password, const char *passfile,
                                   struct buf *out, struct err *e);

/* Append the URL without any password. */
MUST_CHECK enum rc conninfo_public(const char *url, struct buf *out, struct err *e);

#endif
