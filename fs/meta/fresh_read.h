/*
 * fresh_read - a read at a mirror that has something to prove: made here as soon as this database
 * shows all that it must, else at the primary. Never answered from what is older.
 *
 * The proof and the data come in one statement, so one that was waited for in vain costs an
 * exchange with the own site each time. While the primary is away there is nobody else to ask: the
 * read waits for what is on its way, within bounds, and then fails with RC_UNAVAILABLE.
 *
 * Private to fs/meta.
 *
 * Threads any · Blocking as above
 */
#ifndef FS_META_FRESH_READ_H
#define FS_META_FRESH_READ_H

#include "fs/meta/retry.h"

MUST_CHECK enum rc fresh_read(struct meta *meta, const struct call *call, struct pg_result **out,
                              struct err *e);

#endif
