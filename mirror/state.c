/*
 *   from \ to    JOINING  COPYING  FOLLOWING  STALLED  LOST              REJOINING
 *   JOINING         ·     subscr.     –          –      slot gone            –
 *   COPYING         –        ·     marker        –      slot gone, gap       –
 *   FOLLOWING       –        –        ·       silence   evidence             –
 *   STALLED         –        –     heartbeat     ·      evidence             –
 *   LOST            –        –        –     caught up*     ·             new copy wanted
 *   REJOINING       –        –     switched      –         –                 ·
 *
 * Evidence is a slot that is gone, and what mirror/evidence.h finds. A gap in the heartbeat is
 * noticed inside the apply worker (tarn_1.heartbeat_arrived), which writes LOST itself; here it
 * arrives as the state before. * only when deletions did not wait for this mirror, and it has
 * passed them. The new copy comes with a state of its own. LEFT is left by a new join, PROMOTED by
 * a demotion.
 */
#include "mirror/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [MIRROR_JOINING] = "JOINING",     [MIRROR_COPYING] = "COPYING",
    [MIRROR_FOLLOWING] = "FOLLOWING", [MIRROR_STALLED] = "STALLED",
    [MIRROR_LOST] = "LOST",           [MIRROR_LEFT] = "LEFT",
    [MIRROR_REJOINING] = "REJOINING", [MIRROR_PROMOTED] = "PROMOTED",
};

const char *mirror_state_name(enum mirror_state state)
{
    return names[state];
}

enum mirror_state mirror_state_parse(const char *name)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (name && strcmp(names[i], name) == 0)
            return (enum mirror_state)i;
    return MIRROR_JOINING;
}

static bool is_slot_lost(const struct mirror_sight *s)
{
    return s->has_subscription && s->knows_slot && (!s->slot || strcmp(s->slot, "lost") == 0);
}

static enum mirror_state before_ready(const struct mirror_sight *s, char why[MIRROR_WHY_MAX])
{
    if (!s->has_subscription) {
        (void)snprintf(why, MIRROR_WHY_MAX, "no subscription yet; run tarn mirror join again");
        return MIRROR_JOINING;
    }
    if (s->errors_new > 0)
        (void)snprintf(why, MIRROR_WHY_MAX,
                       "%d of %d tables are copied, %" PRId64
                       " errors; the log of the mirror's PostgreSQL says which",
                       s->tables_ready, s->tables_total, s->errors);
    else
        (void)snprintf(why, MIRROR_WHY_MAX, "%d of %d tables are copied", s->tables_ready,
                       s->tables_total);
    return MIRROR_COPYING;
}

static enum mirror_state once_ready(const struct mirror_sight *s, char why[MIRROR_WHY_MAX])
{
    if (!s->has_subscription || !s->is_enabled)
        (void)snprintf(why, MIRROR_WHY_MAX, "the subscription is %s",
                       s->has_subscription ? "disabled" : "gone");
    else if (s->errors_new > 0)
        (void)snprintf(why, MIRROR_WHY_MAX,
                       "applying a change fails, %" PRId64 " errors so far: %s", s->errors,
                       s->apply_error ? s->apply_error
                                      : "the log of the mirror's PostgreSQL says why");
    else if (s->silence_ms > MIRROR_STALL_MS)
        (void)snprintf(why, MIRROR_WHY_MAX, "no heartbeat for %" PRIu64 " s; %s",
                       s->silence_ms / 1000,
                       s->has_worker ? "the primary's agent is away" : "the primary is away");
    return why[0] ? MIRROR_STALLED : MIRROR_FOLLOWING;
}

/* An older state of the primary has no slot either, and given-up deletions pass; a slot does not.
 */
const char *mirror_lost_by(const struct mirror_sight *s)
{
    bool passes = s->lost_why && strcmp(s->lost_by, "given_up") == 0;
    if (s->lost_why && !passes)
        return s->lost_by;
    if (is_slot_lost(s))
        return "slot";
    return passes ? s->lost_by : NULL;
}

enum mirror_state mirror_state_next(enum mirror_state now, const struct mirror_sight *s,
                                    char why[MIRROR_WHY_MAX])
{
    why[0] = '\0';
    if (now == MIRROR_LOST || now == MIRROR_LEFT || now == MIRROR_REJOINING ||
        now == MIRROR_PROMOTED)
        return now;
    const char *by = mirror_lost_by(s);
    if (by && strcmp(by, "slot") == 0 && is_slot_lost(s))
        (void)snprintf(why, MIRROR_WHY_MAX, "the replication slot at the primary is %s",
                       s->slot ? s->slot : "gone");
    else if (by)
        (void)snprintf(why, MIRROR_WHY_MAX, "%s", s->lost_why);
    if (by)
        return MIRROR_LOST;
    return s->is_ready ? once_ready(s, why) : before_ready(s, why);
}
