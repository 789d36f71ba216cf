#include "fs/meta/doubts.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/meta/reply.h"

struct doubt {
    struct lane lane;
    struct doubt *next;
};

void doubts_init(struct doubts *doubts)
{
    *doubts = (struct doubts){.first = NULL};
    lock_init(&doubts->lock, LOCK_META_POOL);
    lock_cond_init(&doubts->settled);
}

static struct doubt *pop(struct doubts *doubts)
{
    LOCK_SCOPE(&doubts->lock);
    struct doubt *d = doubts->first;
    if (d)
        doubts->first = d->next;
    return d;
}

void doubts_deinit(struct doubts *doubts)
{
    struct doubt *d;
    while ((d = pop(doubts)) != NULL)
        free(d);
    lock_cond_deinit(&doubts->settled);
    lock_deinit(&doubts->lock);
}

static void push(struct doubts *doubts, struct doubt *d)
{
    LOCK_SCOPE(&doubts->lock);
    d->next = doubts->first;
    doubts->first = d;
}

void doubts_add(struct doubts *doubts, const struct lane *lane)
{
    if (!lane->is_uncertain)
        return;
    struct doubt *d = malloc(sizeof(*d));
    if (!d) {
        log_warn("no memory to find out what became of an operation; fsck repairs its counts");
        return;
    }
    *d = (struct doubt){.lane = *lane};
    push(doubts, d);
}

static enum rc settle(struct doubt *d, struct meta *meta, struct err *e)
{
    struct pg_param params[] = {CALL_LANE};
    auto_result struct pg_result *answer = NULL;
    struct call *call = CALL("SELECT * FROM tarn_1.lane_void($1,$2,$3)", params);
    if (retry_in_lane(meta, &d->lane, call, &answer, e))
        return e->code;
    reply_usage(meta, answer);
    return RC_OK;
}

/* Only a server that is away leaves it for later. */
static enum rc settle_each(struct doubts *doubts, struct meta *meta, struct err *e)
{
    struct doubt *d;
    while ((d = pop(doubts)) != NULL) {
        const enum rc rc = settle(d, meta, e);
        if (rc == RC_UNAVAILABLE) {
            push(doubts, d);
            return err_note(e, "could not find out what became of an operation");
        }
        if (rc) {
            log_err(LOG_LEVEL_WARN, e, "what became of an operation is not known");
            *e = ERR_INIT;
        }
        free(d);
    }
    return RC_OK;
}

/* False: there is nothing to do. */
static bool begin(struct doubts *doubts)
{
    LOCK_SCOPE(&doubts->lock);
    while (doubts->is_settling) /* bounded by the timeout of his calls */
        (void)lock_wait(&doubts->settled, &doubts->lock, CLOCK_FOREVER_MS);
    doubts->is_settling = doubts->first != NULL;
    return doubts->is_settling;
}

enum rc doubts_settle(struct doubts *doubts, struct meta *meta, struct err *e)
{
    if (!begin(doubts))
        return RC_OK;
    const enum rc rc = settle_each(doubts, meta, e);
    LOCK_SCOPE(&doubts->lock);
    doubts->is_settling = false;
    lock_broadcast(&doubts->settled);
    return rc;
}
