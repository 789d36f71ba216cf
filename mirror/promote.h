/*
 * promote - one promotion under way: what it was asked for, both connections, its journal.
 *
 *   step      where        what                                             undone by --abort
 *   prepare   both         publish; subscribe the other way, not enabled    yes
 *   fence     old primary  read-only, sessions ended                        yes
 *   drain     both         a marker behind everything has arrived           nothing to undo
 *   slots     mirror       apply stops; slots at exactly this point         yes
 *   switch    mirror       ONE transaction: role, epoch, numbers            NO: forward
 *   mark      buckets      the object tarn/epoch                            only from here
 *   demote    old primary  ONE transaction: a mirror, from its slot on
 *   finish    mirror       the old subscription goes
 *
 * A promotion by force has no prepare, slots and demote; it claims the epoch in the old bucket,
 * where that answers, before it switches. What has been done is known by the databases themselves
 * and by tarn.promotion, so the command may be killed at any time and run again: it does every step
 * anew up to the switch, and what is missing behind it. Why numbers are never given out twice, and
 * what the fence is, stands at the top of schema/api/54_promote.sql.
 *
 * Private to mirror/promote*.c.
 *
 * Threads   one
 * Blocking  on both PostgreSQL servers and both buckets
 */
#ifndef MIRROR_PROMOTE_H
#define MIRROR_PROMOTE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/meta/finding.h"
#include "fs/meta/pg.h"
#include "fs/volume/volume.h"

#define PROMOTE_NAME_MAX 64
#define PROMOTE_LSN_MAX  32

struct promote_options {
    const char *primary, *primary_password;
    const char *url, *replication_password, *replication_passfile, *origin;
    int64_t timeout_ms;
    bool is_forced, is_abort, is_check, is_asking, json;
};

struct promote {
    const struct promote_options *o;
    const char *url;
    struct pg *own;
    struct pg *old; /* NULL: the old primary was not reached */
    struct volume *volume;
    struct json *steps;

    /* of this site, as it is now */
    char site[PROMOTE_NAME_MAX];
    bool is_primary;
    bool has_own_bucket;       /* as a mirror it had, or has, one */
    char old_bucket[PATH_MAX]; /* URL of the bucket that the old primary writes; "": the same */
    char own_bucket[PATH_MAX]; /* URL of this site's, when it has one */

    /* the journal; old_site is known before it is begun */
    bool is_open, has_switched;
    bool is_fenced; /* the old primary, by this very command */
    char old_site[PROMOTE_NAME_MAX];
    char old_url[PATH_MAX];
    int64_t marker;
    char marker_lsn[PROMOTE_LSN_MAX];
    int64_t epoch;
    int64_t above; /* that the new epoch has to be; by force our own claim must not count */
    bool knows_above;
};

/* Connect, read what this site is and what its journal says, and take the lock. */
MUST_CHECK enum rc promote_open(struct promote *p, struct err *e);
void promote_close(struct promote *p);

/*
 * Reach the old primary: by --primary, else as the subscription does, else by the journal's URL.
 * Sessions opened so may write behind the fence.
 */
MUST_CHECK enum rc promote_reach_old(struct promote *p, uint64_t wait_ms, struct err *e);

/* What stands against it, one line each. */
MUST_CHECK enum rc promote_check(struct promote *p, struct findings *found, struct err *e);

/* Say what was done, on stdout or for the JSON document. */
MUST_CHECK enum rc promote_note(struct promote *p, const char *step, struct err *e, const char *fmt,
                                ...) PRINTF(4, 5);

/* The steps of a planned promotion, from where it stands to its end. */
MUST_CHECK enum rc promote_planned(struct promote *p, struct err *e);
/* The same by force. */
MUST_CHECK enum rc promote_forced(struct promote *p, struct err *e);
/* Undo what stands before the switch. RC_INVALID: there is nothing, or it is too late. */
MUST_CHECK enum rc promote_abort(struct promote *p, struct err *e);

/* Parts of both. */
MUST_CHECK enum rc promote_begin(struct promote *p, const char *kind, struct err *e);
MUST_CHECK enum rc promote_fence(struct promote *p, struct err *e);
/* Write the marker and wait until it is here; RC_TIMEOUT: it did not come in wait_ms. */
MUST_CHECK enum rc promote_drain(struct promote *p, uint64_t wait_ms, struct err *e);
MUST_CHECK enum rc promote_pause(struct promote *p, struct err *e);
/* sustained: of the old primary, JSON; NULL by force. */
MUST_CHECK enum rc promote_switch(struct promote *p, const char *sustained, struct err *e);
MUST_CHECK enum rc promote_finish(struct promote *p, struct err *e);

/* The buckets: open them; the highest epoch that they and the old primary know of. */
MUST_CHECK enum rc promote_buckets_open(struct promote *p, struct err *e);
MUST_CHECK enum rc promote_epoch_above(struct promote *p, struct err *e);
/* Write tarn/epoch: into the old bucket before a switch by force, into both after any switch. */
MUST_CHECK enum rc promote_claim(struct promote *p, struct err *e);
MUST_CHECK enum rc promote_mark(struct promote *p, struct err *e);
/* The format row as it is and as it has to be: naming this site's bucket. "" twice: it stays. */
MUST_CHECK enum rc promote_format(struct promote *p, struct buf *was, struct buf *is,
                                  struct err *e);

#endif
