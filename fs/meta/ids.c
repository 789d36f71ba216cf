#include "fs/meta/ids.h"

#include <errno.h>

#include "fs/base/clock.h"
#include "fs/meta/handle.h"
#include "fs/meta/retry.h"

void id_range_init(struct id_range *range, const char *counter, int64_t step)
{
    *range = (struct id_range){.counter = counter, .step = step};
    lock_init(&range->lock, LOCK_META_IDS);
    lock_cond_init(&range->refilled);
}

void id_range_deinit(struct id_range *range)
{
    lock_cond_deinit(&range->refilled);
    lock_deinit(&range->lock);
}

/* Lost answers only waste numbers, so this may be sent again freely. */
static enum rc allocate(struct meta *meta, const char *counter, int64_t n, uint64_t *first,
                        struct err *e)
{
    if (meta->is_read_only)
        return err_refused(e, EROFS, "the volume was opened read-only");
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_text(counter), pg_int8(n)};
    if (retry_change(meta, CALL("SELECT * FROM tarn_1.alloc($1,$2)", params), &answer, e))
        return err_note(e, "could not take numbers from %s", counter);
    int64_t value = pg_rows(answer) ? pg_get_int8(answer, 0, pg_column(answer, "first")) : 0;
    if (value <= 0)
        return err_fail(e, RC_CORRUPT, "counter %s is missing or negative", counter);
    *first = (uint64_t)value;
    return RC_OK;
}

/* Called with is_refilling set by this thread, without the lock. */
static enum rc refill(struct id_range *range, struct meta *meta, struct err *e)
{
    uint64_t first = 0;
    enum rc rc = allocate(meta, range->counter, range->step, &first, e);
    LOCK_SCOPE(&range->lock);
    if (!rc) {
        range->next = first;
        range->end = first + (uint64_t)range->step;
    }
    range->is_refilling = false;
    lock_broadcast(&range->refilled);
    return rc;
}

/* Take a number, or the duty to refill, or wait for whoever has it. */
enum id_turn { ID_TAKEN, ID_REFILL, ID_TIMEOUT };

static enum id_turn take_or_wait(struct id_range *range, uint64_t deadline_ms, uint64_t *out)
{
    LOCK_SCOPE(&range->lock);
    while (range->next == range->end) {
        if (!range->is_refilling) {
            range->is_refilling = true;
            return ID_REFILL;
        }
        if (!lock_wait(&range->refilled, &range->lock, deadline_ms))
            return ID_TIMEOUT;
    }
    *out = range->next++;
    return ID_TAKEN;
}

enum rc id_range_next(struct id_range *range, struct meta *meta, uint64_t *out, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(meta->timeout_ms);
    for (;;) {
        switch (take_or_wait(range, deadline_ms, out)) {
        case ID_TAKEN:
            return RC_OK;
        case ID_TIMEOUT:
            return err_fail(e, RC_UNAVAILABLE, "could not take numbers from %s in time",
                            range->counter);
        case ID_REFILL:
            if (refill(range, meta, e))
                return e->code;
        }
    }
}
