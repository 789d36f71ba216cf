/*
 * reseed - a mirror that is LOST is copied anew into a second database beside the one that serves,
 * which goes on being read; when the copy is consistent the two exchange their names in one
 * transaction, sessions are ended and come back to the new copy, and the old one is dropped.
 *
 * Where the work stands is read from the databases each time (table tarn.reseed and the new
 * database itself), so whoever is killed is followed by anybody who calls again: the agent or the
 * command. The caller holds the lock of the mirror (mirror_lock()).
 *
 * Threads   one
 * Blocking  reseed_step() on both PostgreSQL servers; making the slot waits for the primary's
 *           transactions under way
 */
#ifndef MIRROR_RESEED_H
#define MIRROR_RESEED_H

#include <stdbool.h>

#include "fs/meta/pg.h"
#include "mirror/facts.h"

struct reseed;

enum reseed_at {
    RESEED_NONE,     /* nothing is wanted */
    RESEED_WORKING,  /* to be gone on with */
    RESEED_SWITCHED, /* the new copy serves; the connection to the old one is closed */
    RESEED_DONE,     /* and the old one is gone */
};

/* url is the mirror's; password that at the primary, where the subscription has none (or NULL).
 * Both must outlive it. */
MUST_CHECK enum rc reseed_open(struct reseed **out, const char *url, const char *password,
                               struct err *e);
void reseed_close(struct reseed **r);

/* Ask for a new copy; asking twice is harmless. */
MUST_CHECK enum rc reseed_want(struct pg *own, const char *reason, bool keeps_old, struct err *e);

/*
 * Go on, if something is wanted. What fails is noted in tarn.reseed, logged and tried again later
 * with growing pauses: an error is answered only when *own itself fails.
 */
MUST_CHECK enum rc reseed_step(struct reseed *r, struct pg **own, const struct facts *f,
                               enum reseed_at *at, struct err *e);

#endif
