/*
 * run_impl - the agent of a mirror, and its parts: what it sees, and what it mends.
 *
 * Private to mirror/run*.c.
 */
#ifndef MIRROR_RUN_IMPL_H
#define MIRROR_RUN_IMPL_H

#include "fs/base/command.h"
#include "mirror/data_lag.h"
#include "mirror/evidence.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/home.h"
#include "mirror/reseed.h"

struct run_options {
    const char *metrics, *primary_password;
    bool reseed, keep_old;
    struct command_log log;
};

struct mirror {
    /* set at open */
    const char *url;
    const struct run_options *options;

    /* of the work */
    struct pg *own, *primary;
    struct home home;
    struct data_lag data;
    struct copy_plan *plan; /* while the first copy is under way */
    struct copy_sight copy;
    bool has_lock, was_told_to_wait;
    struct facts_primary said;
    struct evidence evidence;
    struct reseed *reseed;
    bool was_reached;
    uint64_t ask_due_ms, ask_pause_ms, tables_due_ms, worker_due_ms, statements_due_ms,
        audit_due_ms;
    bool has_reported;
    int64_t version;     /* of the tarn.* tables here; 0: not known yet */
    bool has_statements; /* that a person was asked to carry out, and may have by now */

    int64_t last_seq, last_epoch;
    uint64_t last_beat_ms;  /* when we saw it */
    int64_t errors_at_ease; /* when a heartbeat arrived last */
    int64_t errors_explained;
    char apply_error[EVIDENCE_TEXT_MAX];
    bool has_seen_beat;

    enum mirror_state shown;
    bool has_shown;
    bool has_marker;
    int64_t marker;
    bool is_promoted; /* the primary by now: the agent ends well */
};

/* Ask the primary, when it is due, and remember the beats and errors that f shows. */
void run_see(struct mirror *m, const struct facts *f);
struct mirror_sight run_sight(const struct mirror *m, const struct facts *f);

/* How far the first copy is; of how much only the primary knows. */
MUST_CHECK enum rc run_watch_copy(struct mirror *m, const struct facts *f, struct err *e);

/* What was seen is of another database now. */
void run_forget(struct mirror *m);

/* Write LOST with its cause, which decides how it is healed. */
MUST_CHECK enum rc run_lose(struct mirror *m, const char *by, const char *why, struct err *e);

/* Do what heals this state, or finishes a join. */
MUST_CHECK enum rc run_mend(struct mirror *m, const struct facts *f, enum mirror_state state,
                            struct err *e);

#endif
