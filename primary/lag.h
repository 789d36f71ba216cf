/*
 * lag - how many seconds a slot lags, from positions alone.
 *
 * A position says nothing about time, so the tracker remembers one position of the primary together
 * with when it was current; when the slot passes it, the mirror is known to have caught up with
 * that moment, and the next position is remembered. The answer is never too low, and at most twice
 * the true lag plus one look.
 *
 * Threads   one tracker, one thread
 * Units     positions in bytes of WAL, times in CLOCK_MONOTONIC milliseconds
 */
#ifndef PRIMARY_LAG_H
#define PRIMARY_LAG_H

#include <stdbool.h>
#include <stdint.h>

struct lag {
    uint64_t caught_up_ms; /* the mirror holds all that was committed before */
    uint64_t goal;         /* the remembered position; valid while has_goal */
    uint64_t goal_ms;
    bool has_goal;
};

/* A tracker that knows nothing before now. */
void lag_init(struct lag *lag, uint64_t now_ms);

/* One look: the primary is at current, the slot has confirmed. Answers the lag in milliseconds. */
uint64_t lag_look(struct lag *lag, uint64_t current, uint64_t confirmed, uint64_t now_ms);

/* "16/B374D848" as bytes; false when text is no position. */
bool lag_parse_lsn(const char *text, uint64_t *out);

#endif
