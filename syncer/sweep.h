/*
 * sweep - finds blocks in this site's bucket whose slice ended while nobody was looking: before a
 * `leave` and the join after it, or while the mirror was being seeded anew. They are ordered to be
 * removed; without that they would stay for ever, since no deletion will arrive for them.
 *
 * Only a mirror that follows is swept, and only blocks older than an hour, which is how long a
 * block may be on its way before its slice is committed. It is done when none was younger; until
 * then it is begun anew each hour. Several syncers may sweep at once.
 *
 * Threads   one
 * Blocking  lists all of the bucket's blocks
 */
#ifndef SYNCER_SWEEP_H
#define SYNCER_SWEEP_H

#include <stdatomic.h>

#include "fs/volume/volume.h"
#include "syncer/queue.h"

#define SWEEP_AGAIN_MS 3600000

/* One sweep, if one is wanted. RC_CANCELLED when *is_stopping becomes true. */
MUST_CHECK enum rc sweep(struct volume *volume, struct queue *queue, const atomic_bool *is_stopping,
                         struct err *e);

#endif
