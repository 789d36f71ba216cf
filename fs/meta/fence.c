#include "fs/meta/fence.h"

#include "fs/base/clock.h"

#define CALL_MS  60000
#define QUIET_MS 100   /* between two looks for sessions that began before the fence */
#define END_MS   15000 /* until they have ended */

/* Twice in a row none: one that is just beginning is not shown yet. */
static enum rc end_sessions(struct pg *pg, const char *before, struct err *e)
{
    const struct pg_param param = pg_text(before);
    const uint64_t deadline_ms = clock_deadline(END_MS);
    for (int quiet = 0; quiet < 2;) {
        auto_result struct pg_result *ended = NULL;
        if (pg_call(pg, "SELECT * FROM tarn_1.fence_end_sessions($1)", &param, 1,
                    clock_deadline(CALL_MS), &ended, e))
            return e->code;
        quiet = pg_get_int8(ended, 0, 0) == 0 ? quiet + 1 : 0;
        if (quiet < 2 && clock_left(deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "sessions at the primary do not end");
        clock_sleep_until(clock_deadline(QUIET_MS));
    }
    return RC_OK;
}

enum rc fence_raise(struct pg *pg, const char *state, const char *why, struct err *e)
{
    const struct pg_param params[] = {pg_text(state), pg_text(why)};
    auto_result struct pg_result *own = NULL, *row = NULL, *at = NULL;
    if (pg_call(pg, "SELECT tarn_1.write_anyway()", NULL, 0, clock_deadline(CALL_MS), &own, e) ||
        pg_call(pg, "SELECT * FROM tarn_1.fence($1,$2)", params, 2, clock_deadline(CALL_MS), &row,
                e) ||
        pg_call(pg, "SELECT * FROM tarn_1.fence_time()", NULL, 0, clock_deadline(CALL_MS), &at, e))
        return err_note(e, "could not fence the primary");
    return end_sessions(pg, pg_get_text(at, 0, 0), e);
}
