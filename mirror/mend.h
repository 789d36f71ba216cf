/*
 * mend - what has changed at the primary since the join is made here too.
 *
 * A newer stock client adds columns and tables. A column stops apply until it is here; what could
 * lose something when it is guessed (a renamed column, another type) is left to a person. A table
 * passes by unseen until the `tarn primary adopt` of a version that knows it publishes it; then it
 * is made here, copied and followed.
 *
 * Threads   one
 * Blocking  on both PostgreSQL servers
 */
#ifndef MIRROR_MEND_H
#define MIRROR_MEND_H

#include "fs/meta/pg.h"

/* Add, widen or loosen our columns as the primary's are; list in tarn.mend_statement what cannot
 * be. */
MUST_CHECK enum rc mend_columns(struct pg *own, struct pg *primary, struct err *e);

/*
 * Follow the tables that are published and not followed; the first copy goes on by itself.
 * RC_NOT_FOUND: one of them belongs to a newer version of Tarn than this one.
 */
MUST_CHECK enum rc mend_tables(struct pg *own, struct pg *primary, struct err *e);

#endif
