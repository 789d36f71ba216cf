#include "primary/lag.h"

#include <errno.h>
#include <stdlib.h>

void lag_init(struct lag *lag, uint64_t now_ms)
{
    *lag = (struct lag){.caught_up_ms = now_ms};
}

uint64_t lag_look(struct lag *lag, uint64_t current, uint64_t confirmed, uint64_t now_ms)
{
    if (lag->has_goal && confirmed >= lag->goal) {
        lag->caught_up_ms = lag->goal_ms;
        lag->has_goal = false;
    }
    if (confirmed >= current) {
        lag->caught_up_ms = now_ms;
        lag->has_goal = false;
    } else if (!lag->has_goal) {
        lag->goal = current;
        lag->goal_ms = now_ms;
        lag->has_goal = true;
    }
    return now_ms - lag->caught_up_ms;
}

bool lag_parse_lsn(const char *text, uint64_t *out)
{
    char *slash, *end;
    errno = 0;
    unsigned long high = strtoul(text, &slash, 16);
    if (errno || slash == text || *slash != '/' || high > UINT32_MAX)
        return false;
    unsigned long low = strtoul(slash + 1, &end, 16);
    if (errno || end == slash + 1 || *end != '\0' || low > UINT32_MAX)
        return false;
    *out = ((uint64_t)high << 32) | (uint64_t)low;
    return true;
}
