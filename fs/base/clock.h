/*
 * clock - monotonic milliseconds for deadlines, wall-clock time for what is stored.
 *
 * Threads any · Blocking never, but for clock_sleep_until
 * Units   *_ms are CLOCK_MONOTONIC milliseconds unless a name says wall
 */
#ifndef FS_BASE_CLOCK_H
#define FS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Never passes. */
#define CLOCK_FOREVER_MS UINT64_MAX

uint64_t clock_ms(void);
uint64_t clock_us(void);

/* Now plus ms, saturating. */
uint64_t clock_deadline(uint64_t ms);

/* Milliseconds left until deadline_ms, 0 if it passed, at most INT32_MAX (so poll(2) takes it). */
int clock_left(uint64_t deadline_ms);

/* CLOCK_REALTIME. */
struct timespec clock_wall(void);

/* Sleep until deadline_ms, through signals. Worker threads only. */
void clock_sleep_until(uint64_t deadline_ms);

#endif
