/*
 * home - the primary itself, as a mirror that follows another mirror needs it beside the one that
 * it follows: markers are made there, lag is measured to it, and it is told how far this mirror has
 * come, because its deletions wait for that and it has no slot of ours. For a mirror that follows
 * the primary, home is the connection that there is.
 *
 * Threads   one
 * Blocking  on the primary, briefly
 */
#ifndef MIRROR_HOME_H
#define MIRROR_HOME_H

#include "mirror/facts.h"

struct home {
    struct pg *pg; /* of a mirror of a mirror; else NULL */
};

/* The connection to the primary, or NULL while it is away; followed is that to the source. */
struct pg *home_reach(struct home *home, struct pg *own, struct pg *followed,
                      const struct facts *f);

/* Ask how much it has written since the beat that is here, and report to it; fills part of *said.
 */
void home_ask(struct home *home, struct pg *own, struct pg *followed, const struct facts *f,
              struct facts_primary *said);

void home_close(struct home *home);

#endif
