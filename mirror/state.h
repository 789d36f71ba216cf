/*
 * state - the states of a mirror, and how one follows from what is seen. No I/O.
 *
 * Threads any · Blocking never
 */
#ifndef MIRROR_STATE_H
#define MIRROR_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mirror_state {
    MIRROR_JOINING,   /* no subscription yet, or not one table begun */
    MIRROR_COPYING,   /* tables of the first copy are under way, or the marker is */
    MIRROR_FOLLOWING, /* consistent, and commits arrive */
    MIRROR_STALLED,   /* consistent, and nothing arrives; heals by itself or says what to do */
    MIRROR_LOST,      /* rows are missing, or may be: stays readable, must be copied anew */
    MIRROR_LEFT,      /* no mirror any more */
    MIRROR_REJOINING, /* is being copied anew, beside the copy that stays readable */
    MIRROR_PROMOTED,  /* the primary now */
};
#define MIRROR_STATES 8

#define MIRROR_STALL_MS 10000 /* without a new heartbeat */
#define MIRROR_WHY_MAX  1536

/* What one look saw. */
struct mirror_sight {
    bool has_subscription, is_enabled, has_worker, is_ready;
    int tables_total, tables_ready;
    int64_t errors;                 /* of apply and copy so far */
    int64_t errors_new;             /* since the last look that found the worker at work */
    uint64_t silence_ms;            /* since the last new heartbeat */
    bool knows_slot;                /* the primary answered lately */
    const char *slot;               /* its wal_status there; NULL: there is no slot */
    const char *lost_by, *lost_why; /* what speaks against this copy; lost_why NULL: nothing */
    const char *apply_error;        /* as PostgreSQL logged it, or where to look; NULL: not known */
};

const char *mirror_state_name(enum mirror_state state);
/* The state by its name; MIRROR_JOINING for a word that is none. */
enum mirror_state mirror_state_parse(const char *name);

/* By what the copy is lost, in the words of schema/api/53_heal.sql; NULL: it is not. */
const char *mirror_lost_by(const struct mirror_sight *sight);

/* The state after this look, and why in one sentence ("" when all is well). */
enum mirror_state mirror_state_next(enum mirror_state now, const struct mirror_sight *sight,
                                    char why[MIRROR_WHY_MAX]);

#endif
