/*
 * retry - the only place that decides whether a call is made again, and at which site.
 *
 * A read is repeated freely. A mutation is repeated under the same (session, lane, op), which the
 * database carries out once. Both wait for a restarting server, with growing pauses, until the
 * deadline of the call; then they fail with RC_UNAVAILABLE.
 *
 * At a mirror, reads are made here as far as they are fresh (freshness.h), else at the primary, and
 * all that changes something is made at the primary. When that is away, what was certainly not done
 * is refused with EROFS at once, or after options.wait_primary_ms. What may have been done is never
 * refused: the same operation is asked about until the call's deadline.
 *
 * A primary that has become read-only is mostly being replaced: calls wait and look where it has
 * gone.
 *
 * Threads any · Blocking until the call's deadline
 */
#ifndef FS_META_RETRY_H
#define FS_META_RETRY_H

#include "fs/meta/lane.h"
#include "fs/meta/meta.h"
#include "fs/meta/pg.h"

/* One call of a function of schema/api. sql is a literal. */
struct call {
    const char *sql;
    struct pg_param *params;
    int count;
    bool is_long; /* may take seconds: nobody is to wait behind it */
};

#define CALL(text, array)                                                                          \
    (&(struct call){(text), (array), (int)(sizeof(array) / sizeof(*(array))), false})
#define CALL_LONG(text, array)                                                                     \
    (&(struct call){(text), (array), (int)(sizeof(array) / sizeof(*(array))), true})

/* A mutation's first three parameters; retry_mutation() puts session, lane and op there. */
#define CALL_LANE                                                                                  \
    {0}, {0},                                                                                      \
    {                                                                                              \
        0                                                                                          \
    }

/* A call of a STABLE function, which changes nothing and sees one snapshot. */
MUST_CHECK enum rc retry_read(struct meta *meta, const struct call *call, struct pg_result **out,
                              struct err *e);

/* The same about this database itself, whatever the volume's other sites say. */
MUST_CHECK enum rc retry_here(struct meta *meta, const struct call *call, struct pg_result **out,
                              struct err *e);

/*
 * A call whose repetition is harmless and whose answer is the primary's to give: a read, a
 * heartbeat, a barrier. Fails with RC_UNAVAILABLE at once when another site's primary is away.
 */
MUST_CHECK enum rc retry_at_primary(struct meta *meta, const struct call *call,
                                    struct pg_result **out, struct err *e);

/* The same, also when it is known to be away: whether it still is. */
MUST_CHECK enum rc retry_probe(struct meta *meta, const struct call *call, struct pg_result **out,
                               struct err *e);

/* As retry_at_primary() for one that changes something and is refused as mutations are. */
MUST_CHECK enum rc retry_change(struct meta *meta, const struct call *call, struct pg_result **out,
                                struct err *e);

/*
 * A mutation through any free lane. *out is its definite answer: one row with a column err.
 *
 * RC_STALE        the session is over; nothing was done
 * RC_REFUSED      EROFS: this handle or the database is read-only
 * RC_UNAVAILABLE  the deadline passed; it may have been carried out or be carried out yet
 */
MUST_CHECK enum rc retry_mutation(struct meta *meta, const struct call *call,
                                  struct pg_result **out, struct err *e);

/*
 * The same for a caller who will make this very call again for as long as its outcome is unknown.
 * *doubt begins as zeros. When the call fails and doubt->is_uncertain, it may have been carried
 * out; the same call with the same doubt then tells, and changes nothing twice.
 */
MUST_CHECK enum rc retry_doubted(struct meta *meta, struct lane *doubt, const struct call *call,
                                 struct pg_result **out, struct err *e);

/*
 * The same through a lane of the caller's own, which may be uncertain: then this must be the same
 * call again. lane->is_uncertain afterwards says whether its outcome is still not known. Reads do
 * not wait for it.
 */
MUST_CHECK enum rc retry_in_lane(struct meta *meta, struct lane *lane, const struct call *call,
                                 struct pg_result **out, struct err *e);

#endif
