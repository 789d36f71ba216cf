#include "mirror/join.h"

#include <inttypes.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/mirror.h"

#define NAG_MS 15000

/* Reconnect whichever connection broke; the lock went with the one to the mirror. */
static enum rc stay_connected(struct join *j, struct err *e)
{
    if (!j->own || !pg_is_open(j->own))
        j->has_lock = false;
    if (mirror_reconnect(&j->own, j->url, NULL, e) || (!j->has_lock && join_lock(j, e)))
        return err_note(e, "mirror");
    return join_connect(j, e);
}

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN || rc == RC_TIMEOUT || rc == RC_STALE;
}

/* Say now and then that we are still waiting, and what PostgreSQL has counted against us. */
static enum rc nag(struct join *j, const char *what, uint64_t *due_ms, struct err *e)
{
    if (clock_ms() < *due_ms)
        return RC_OK;
    *due_ms = clock_deadline(NAG_MS);
    auto_facts struct facts f = {0};
    if (facts_read(j->own, &f, e))
        return e->code;
    log_warn("still waiting for %s: %d of %d tables are copied, %" PRId64
             " errors, worker %s; the log of the mirror's PostgreSQL tells more",
             what, f.tables_ready, f.tables_total, f.errors, f.has_worker ? "at work" : "away");
    return RC_OK;
}

static enum rc follow_copy(struct join *j, struct copy_plan *plan, struct progress *bar,
                           struct err *e)
{
    struct copy_sight sight = {0};
    uint64_t nag_ms = clock_deadline(NAG_MS);
    do {
        if (sight.tables_total)
            clock_sleep_until(clock_deadline(JOIN_LOOK_MS));
        uint64_t before = sight.bytes_done;
        if (stay_connected(j, e) || copy_look(plan, j->own, &sight, e) ||
            nag(j, "the first copy", &nag_ms, e))
            return e->code;
        if (sight.bytes_done != before)
            nag_ms = clock_deadline(NAG_MS);
        progress_set(bar, sight.bytes_done, sight.bytes_total);
        if (sight.tables_total == 0)
            return err_fail(e, RC_INVALID, "subscription \"%s\" follows no table", j->slot);
    } while (sight.tables_ready < sight.tables_total);
    return RC_OK;
}

static enum rc wait_for_marker(struct join *j, struct err *e)
{
    int64_t value = 0;
    bool is_here = false;
    uint64_t nag_ms = clock_deadline(NAG_MS);
    if (follow_copied(j->own, e) || marker_write(join_home(j), j->o->name, &value, e))
        return e->code;
    while (!is_here) {
        if (marker_arrived(j->own, j->o->name, value, &is_here, e) ||
            nag(j, "the marker", &nag_ms, e))
            return e->code;
        if (!is_here)
            clock_sleep_until(clock_deadline(JOIN_LOOK_MS / 10));
    }
    return follow_ready(j->own, e);
}

/* What is missing is looked for anew each time. */
enum rc join_follow(struct join *j, struct err *e)
{
    struct copy_plan *plan = NULL;
    struct progress *bar = progress_open("first copy", 0, true);
    enum rc rc;
    for (;;) {
        rc = stay_connected(j, e);
        if (!rc && !plan)
            rc = copy_plan_make(&plan, j->primary, e);
        if (!rc)
            rc = follow_copy(j, plan, bar, e);
        if (!rc)
            rc = wait_for_marker(j, e);
        if (!is_passing(rc))
            break;
        log_err(LOG_LEVEL_WARN, e, "trying again");
        clock_sleep_until(clock_deadline(1000));
    }
    progress_close(&bar);
    copy_plan_free(&plan);
    return rc;
}
