#include "fs/base/clock.h"

#include <errno.h>

static struct timespec clock_now(clockid_t id)
{
    struct timespec now;
    (void)clock_gettime(id, &now);
    return now;
}

uint64_t clock_ms(void)
{
    return clock_us() / 1000;
}

uint64_t clock_us(void)
{
    struct timespec now = clock_now(CLOCK_MONOTONIC);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_deadline(uint64_t ms)
{
    uint64_t now = clock_ms();
    return ms < CLOCK_FOREVER_MS - now ? now + ms : CLOCK_FOREVER_MS;
}

int clock_left(uint64_t deadline_ms)
{
    uint64_t now = clock_ms();
    if (deadline_ms <= now)
        return 0;
    uint64_t left = deadline_ms - now;
    return left < INT32_MAX ? (int)left : INT32_MAX;
}

struct timespec clock_wall(void)
{
    return clock_now(CLOCK_REALTIME);
}

void clock_sleep_until(uint64_t deadline_ms)
{
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ms / 1000),
        .tv_nsec = (long)(deadline_ms % 1000) * 1000000,
    };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}
