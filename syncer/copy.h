/*
 * copy - brings one slice into the wanted state at this site: its blocks copied from the origin and
 * verified, or removed.
 *
 * A block that is here already and good is left alone, so an order that was half done is finished
 * rather than begun again. Nothing is called copied before it was read back and compared.
 *
 * Threads   any; one copier per thread, since it owns the buffers
 * Blocking  on both stores
 */
#ifndef SYNCER_COPY_H
#define SYNCER_COPY_H

#include "fs/volume/volume.h"
#include "syncer/queue.h"

struct copier;

/* Called between blocks: RC_STALE ends the work because the order is no longer ours. */
typedef enum rc (*copy_still_ours)(void *arg, struct err *e);

/*
 * The bucket that is filled, and the one that it is filled from: a mirror's own and the origin, or,
 * at a primary that was a mirror, its own and that of the primary before it. NULL: there is none.
 */
struct store *copier_to(struct volume *volume);
struct store *copier_from(struct volume *volume);

MUST_CHECK enum rc copier_open(struct copier **out, struct volume *volume, struct err *e);
void copier_close(struct copier **copier);

/*
 * Carry out one order.
 *
 * RC_NOT_FOUND    the origin has no such block
 * RC_CORRUPT      the origin's block is bad; nothing was kept
 * RC_UNAVAILABLE  a store cannot be reached now
 */
MUST_CHECK enum rc copier_run(struct copier *copier, const struct order *order,
                              copy_still_ours still_ours, void *arg, struct err *e);

#endif
