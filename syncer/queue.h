/*
 * queue - the syncer's orders, kept in the mirror's PostgreSQL (schema/api/52_syncer.sql).
 *
 * A handle is one connection. It reconnects by itself, with a growing pause, when the server
 * restarts; a verb that could not be carried out answers RC_UNAVAILABLE and may be called again:
 * every one of them is idempotent or fenced.
 *
 * Threads   one handle, one thread
 * Blocking  waits for PostgreSQL
 */
#ifndef SYNCER_QUEUE_H
#define SYNCER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"

struct queue;

#define QUEUE_LEASE_S 60

enum order_want { ORDER_COPY, ORDER_DELETE };

/* A leased order. Owns sums. */
struct order {
    uint64_t slice;
    uint32_t size;
    enum order_want want;
    int64_t fence;
    int attempts;
    bool is_referenced;
    uint32_t *sums; /* host order; NULL: the slice has none */
    uint32_t sums_count;
};
void order_deinit(struct order *order);
#define auto_order __attribute__((cleanup(order_deinit)))

/* Something refers to the slice: never remove, whatever the order says. */
static inline bool order_removes(const struct order *order)
{
    return order->want == ORDER_DELETE && !order->is_referenced;
}

struct backlog {
    int64_t copies, deletes, leased, failing;
    double oldest_s;
    bool has_begun, backfill_done;
    int64_t backfill_position, backfill_goal;
    char last_error[256]; /* of any one failing order; "" if none fails */
};

/* Connects at the first verb. */
MUST_CHECK enum rc queue_open(struct queue **out, const char *url, struct err *e);
void queue_close(struct queue **queue);

/*
 * Lease one order. RC_NOT_FOUND: nothing is due. RC_CORRUPT: *out is leased, but its sums are
 * malformed: give it back.
 */
MUST_CHECK enum rc queue_lease(struct queue *queue, struct order *out, struct err *e);
/* Extend the lease. RC_STALE: another worker has the order now. */
MUST_CHECK enum rc queue_renew(struct queue *queue, const struct order *order, struct err *e);
/*
 * Report what was done. RC_OK: the order is gone. RC_STALE: another worker has it. RC_EXISTS: it is
 * wanted otherwise by now; order->want is turned over and the lease goes on.
 */
MUST_CHECK enum rc queue_done(struct queue *queue, struct order *order, struct err *e);
/*
 * Give the order back with the reason; it comes again after a delay that grows with attempts.
 * RC_STALE: another worker has it.
 */
MUST_CHECK enum rc queue_fail(struct queue *queue, const struct order *order,
                              const struct err *reason, struct err *e);
/* An order to copy was lost: order what may have been stored too late to be removed again. */
MUST_CHECK enum rc queue_left(struct queue *queue, const struct order *order, struct err *e);

/* Is there reason to look for blocks of slices that ended before this mirror joined? */
MUST_CHECK enum rc queue_sweep_wanted(struct queue *queue, bool *out, struct err *e);
/* Order those of the slices to be removed that the metadata does not know; *strays: how many. */
MUST_CHECK enum rc queue_strays(struct queue *queue, const int64_t *slices, const int32_t *sizes,
                                size_t count, int64_t *strays, struct err *e);
MUST_CHECK enum rc queue_sweep_done(struct queue *queue, struct err *e);

/* Order the next page of history unless enough is waiting. */
MUST_CHECK enum rc queue_backfill(struct queue *queue, bool *is_more, struct err *e);
MUST_CHECK enum rc queue_is_due(struct queue *queue, bool *out, struct err *e);
/* RC_INVALID: this site is the primary, where there is nothing to copy. */
MUST_CHECK enum rc queue_check_mirror(struct queue *queue, struct err *e);
/* At a primary: is the bucket of the one before it of no use any more, from now on? */
MUST_CHECK enum rc queue_former_end(struct queue *queue, bool *is_over, struct err *e);
MUST_CHECK enum rc queue_backlog(struct queue *queue, struct backlog *out, struct err *e);

/* Visit up to limit orders that failed at least once. */
typedef void (*queue_failure)(uint64_t slice, const char *want, int attempts, const char *error,
                              void *arg);
MUST_CHECK enum rc queue_failures(struct queue *queue, int limit, queue_failure visit, void *arg,
                                  struct err *e);

#endif
