/*
 * doubts - operations that were given up without an answer, and how they come to an end.
 *
 * The caller was told that it failed; the database may have carried it out, or may do so yet, when
 * a copy of the request comes out of a queue minutes later. So the client asks afterwards: under
 * the number of the operation it sends one that does nothing. Either that is carried out, and the
 * other never will be; or the stored answer comes back, whose usage is counted as ever.
 *
 * Threads any · Blocking doubts_settle() waits for PostgreSQL
 */
#ifndef FS_META_DOUBTS_H
#define FS_META_DOUBTS_H

#include "fs/base/lock.h"
#include "fs/meta/lane.h"

struct meta;
struct doubt;

struct doubts {
    struct lock lock;
    struct lock_cond settled;
    struct doubt *first; /* shared */
    bool is_settling;    /* shared */
};

void doubts_init(struct doubts *doubts);
void doubts_deinit(struct doubts *doubts);

/* Nobody will ask again about the lane's last operation; nothing when it is not uncertain. */
void doubts_add(struct doubts *doubts, const struct lane *lane);

/*
 * Settle them all, and wait for whoever is at it. Without one it costs nothing.
 *
 * RC_UNAVAILABLE  some are left, for the next time
 */
MUST_CHECK enum rc doubts_settle(struct doubts *doubts, struct meta *meta, struct err *e);

#endif
