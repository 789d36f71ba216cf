/*
 * drain - how fast a rest becomes less, and when it will be gone. No I/O.
 *
 * Threads   one set, one thread
 * Blocking  never
 */
#ifndef MIRROR_DRAIN_H
#define MIRROR_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

/* The rate is net of what is added to the rest, and smoothed over half a minute. All zero: none. */
struct drain {
    bool has_look, has_rate;
    uint64_t at_ms;
    int64_t rest;
    double per_s;
};

/* Note a look at what is left. */
void drain_look(struct drain *d, int64_t rest, uint64_t now_ms);
/* Seconds until nothing is left; negative: nobody knows. */
double drain_eta_s(const struct drain *d);

#endif
