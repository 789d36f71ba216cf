#include "primary/lease.h"

#include <inttypes.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/meta/fence.h"
#include "primary/primary.h"

METRIC_DEFINE(held_back, METRIC_GAUGE, "tarn_primary_held_back", NULL,
              "1 while the primary is read-only because its mirrors do not answer")

static enum rc hold_back(struct lease *lease, struct pg *pg, uint64_t silent_ms, struct err *e)
{
    char why[128];
    (void)snprintf(why, sizeof(why), "a mirror has not acknowledged anything for %" PRIu64 " s",
                   silent_ms / 1000);
    if (fence_raise(pg, "READONLY", why, e))
        return err_note(e, "could not make the primary read-only");
    lease->is_held_back = true;
    log_error("the lease has ended, this primary is read-only: %s", why);
    return RC_OK;
}

static enum rc lift(struct lease *lease, struct pg *pg, struct err *e)
{
    const struct pg_param state = pg_text("READONLY");
    auto_result struct pg_result *row = NULL;
    if (pg_call(pg, "SELECT * FROM tarn_1.unfence($1)", &state, 1, clock_deadline(PRIMARY_CALL_MS),
                &row, e))
        return err_note(e, "could not make the primary writable again");
    lease->is_held_back = false;
    log_info("%s: this primary is writable again",
             lease->ms ? "the mirrors acknowledge" : "there is no lease any more");
    return RC_OK;
}

enum rc lease_turn(struct lease *lease, struct pg *pg, const struct slots *slots, bool may_lift,
                   bool *wants_epoch, struct err *e)
{
    const uint64_t silent_ms = slots_silence(slots, lease->site);
    const bool is_over = lease->ms && silent_ms > lease->ms;
    enum rc rc = RC_OK;
    if (is_over && !lease->is_held_back)
        rc = hold_back(lease, pg, silent_ms, e);
    else if (!is_over && lease->is_held_back && may_lift)
        rc = lift(lease, pg, e);
    *wants_epoch = !is_over && lease->is_held_back;
    metric_set(&held_back, lease->is_held_back);
    return rc;
}
