/*
 * url - the metadata URL: postgres://user[:password]@host[:port]/db?param=value.
 *
 * The password may come from the URL, META_PASSWORD, or a passfile (libpq's). It never reaches a
 * log: url_redact() is what may be shown.
 *
 * Threads any · Blocking never
 */
#ifndef FS_BASE_URL_H
#define FS_BASE_URL_H

#include "fs/base/buf.h"
#include "fs/base/err.h"

/* Accepts postgres:// and postgresql://. RC_INVALID says what is malformed, never the password. */
MUST_CHECK enum rc url_check(const char *url, struct err *e);

/* A heap copy with the password replaced by "****". The caller frees it; NULL without memory. */
char *url_redact(const char *url);

/* Append the URL of another database of the same server. */
MUST_CHECK enum rc url_with_database(const char *url, const char *database, struct buf *out,
                                     struct err *e);

/*
 * Take the password of a URL out of a command-line argument (the URL itself, or --option=URL),
 * where everybody can read it: the argument's memory shows the redacted form from now on, and
 * *argument is a copy of what was given, for the rest of the process. Others are left alone.
 */
void url_hide(char **argument);

#endif
