/*
 * freshness - what a read at a mirror has to show before it is believed.
 *
 *   eventual  nothing: what has arrived
 *   session   all that this handle has been told before: the last answered operation of each of its
 *             lanes (rows of tarn.slot), and what it read at the primary when it could not wait
 *   strict    all that anybody was told before the read began
 *
 * The first kind of proof is the slot row, which travels with the change itself; the other one is a
 * barrier: a marker advanced at the primary, which everything that was visible there before
 * precedes. A read asks for its proof in its own statement (schema/api/57_fresh.sql), so a call's
 * text is wrapped here; a handle that is owed nothing sends the text as it is.
 *
 * One barrier serves all reads that began before it was sent. While a mirror is behind, reads go to
 * the primary without asking here first, but for one now and then that looks whether it has caught
 * up.
 *
 * At a primary all three mean the same, and nothing of this is used.
 *
 * Private to fs/meta.
 *
 * Threads any · Blocking freshness_want() for a barrier, until its deadline; the rest never
 */
#ifndef FS_META_FRESHNESS_H
#define FS_META_FRESHNESS_H

#include "fs/base/lock.h"
#include "fs/meta/retry.h"

/* Lanes that can be owed one by one; beyond, a barrier stands for all. */
#define FRESH_LANES 128
#define FRESH_TEXTS 128

struct fresh_debt {
    int32_t lane;
    int64_t op;
};

struct freshness {
    enum meta_freshness level; /* set at open */
    char mark[16];             /* set at open: the marker to advance */

    struct lock lock; /* guards the rest */
    uint64_t sid;     /* the session of debts */
    struct fresh_debt debts[FRESH_LANES];
    size_t debt_count;

    struct lock_cond marked;
    bool is_marking;      /* a barrier is on its way: number sent */
    uint64_t sent, done;  /* barriers so far */
    uint64_t needed;      /* session: reads need a barrier of at least this number */
    int64_t value, shown; /* of the marker: as last answered, as last seen here */

    bool is_behind;
    uint64_t look_ms; /* when a read shall look again whether it still is */

    struct fresh_text {
        const char *sql; /* the literal */
        char *wrapped;
    } texts[FRESH_TEXTS];
    size_t text_count;
};

void freshness_init(struct freshness *f, enum meta_freshness level);
void freshness_deinit(struct freshness *f);

/* Operation op of a lane has been answered by the primary. */
void freshness_answered(struct freshness *f, uint64_t sid, int32_t lane, int64_t op);
/* Something was seen at the primary that no lane tells of. */
void freshness_asked(struct freshness *f);
/* This site is another one's mirror now: what was proven by then says nothing any more. */
void freshness_restart(struct freshness *f);

/* Must reads prove anything at all? */
bool freshness_owes(struct freshness *f);
/* Shall this read go to the primary at once? */
bool freshness_is_behind(struct freshness *f);
/* A read waited for in vain. */
void freshness_fell_behind(struct freshness *f);

/* What one read has to show. */
struct fresh_want {
    uint64_t sid;
    size_t count;
    int64_t lanes[FRESH_LANES], ops[FRESH_LANES];
    uint64_t needed; /* the barrier behind mark_value */
    int64_t mark_value;
};

/* What a read that begins now has to show. May make a barrier, or wait for somebody's. */
MUST_CHECK enum rc freshness_want(struct freshness *f, struct meta *meta, uint64_t deadline_ms,
                                  struct fresh_want *out, struct err *e);
/*
 * Make the barrier that reads of a session need, before one has to wait for it: once the primary is
 * away there is none to be had, while what it stands for may still arrive.
 */
void freshness_prepare(struct freshness *f, struct meta *meta);
/* It has been shown. */
void freshness_shown(struct freshness *f, const struct fresh_want *want);

/* The text that makes a call of `count` parameters and proves something by five more. */
MUST_CHECK enum rc freshness_wrap(struct freshness *f, const char *sql, int count, const char **out,
                                  struct err *e);
#define FRESH_PARAMS      5
#define FRESH_CALL_PARAMS 16 /* of a call that is wrapped, at most */

#endif
