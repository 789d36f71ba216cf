/*
 * audit_show - what an audit has found, for a person or as JSON, and the exit code that follows;
 * and what status and metrics show of the last one.
 *
 * Threads   one
 * Blocking  on the mirror's PostgreSQL
 */
#ifndef MIRROR_AUDIT_SHOW_H
#define MIRROR_AUDIT_SHOW_H

#include "fs/base/json.h"
#include "mirror/audit.h"

/*
 * Print the findings of a->run and its sums. RC_CORRUPT, with the exit code: there are differences.
 */
MUST_CHECK enum rc audit_show(struct audit *a, struct err *e);

/* A line for each kind of audit that came to its end, as `tarn mirror status` shows it. */
MUST_CHECK enum rc audit_show_last(struct pg *own, struct err *e);
/* The same as member "audit" of a document. */
MUST_CHECK enum rc audit_add_last(struct pg *own, struct json *into, struct err *e);
/* The same as metrics. */
MUST_CHECK enum rc audit_count_last(struct pg *own, struct err *e);

#endif
