/*
 * fence - nobody writes to a primary any more: its database is read-only by default, and every
 * session that began before has ended. schema/api/54_promote.sql says how far that holds, and lifts
 * it again.
 *
 * Threads   one
 * Blocking  on PostgreSQL, until the sessions have ended
 */
#ifndef FS_META_FENCE_H
#define FS_META_FENCE_H

#include "fs/meta/pg.h"

/*
 * Fence the database of pg; this session goes on to write. state and why go to tarn.local_site:
 * FENCED by a promotion, READONLY by a lease.
 *
 * RC_TIMEOUT  it is read-only, but a session of before does not end
 */
MUST_CHECK enum rc fence_raise(struct pg *pg, const char *state, const char *why, struct err *e);

#endif
