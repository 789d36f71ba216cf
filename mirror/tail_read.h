/*
 * tail_read - a slot at a database that was primary, read through mirror/tail.h. Reading consumes
 * nothing.
 *
 * Threads   one
 * Blocking  on PostgreSQL
 */
#ifndef MIRROR_TAIL_READ_H
#define MIRROR_TAIL_READ_H

#include "fs/meta/pg.h"
#include "mirror/tail.h"

/*
 * Feed what slot keeps to t, about limit changes (whole commits); *messages: how many there were.
 * RC_NOT_FOUND: there is no such slot.
 */
MUST_CHECK enum rc tail_read(struct pg *old, const char *slot, int32_t limit, struct tail *t,
                             tail_visit visit, void *arg, int *messages, struct err *e);

/* How far own has applied what old_site has written (tarn_1.promote_applied). */
MUST_CHECK enum rc tail_applied(struct pg *own, const char *old_site, uint64_t *lsn, struct err *e);

/* Count what has not been applied; counting ends after a million changes. */
MUST_CHECK enum rc tail_count(struct pg *old, const char *slot, uint64_t applied_lsn,
                              struct tail_sums *out, struct err *e);

#endif
