/*
 * facts - all that a mirror's own database knows about it, in one exchange, and as JSON.
 *
 * Threads   one set, one thread
 * Blocking  facts_read() and facts_ask_primary() wait for PostgreSQL
 */
#ifndef MIRROR_FACTS_H
#define MIRROR_FACTS_H

#include "fs/base/json.h"
#include "fs/meta/pg.h"
#include "mirror/state.h"

/* What the primary said about our slot. */
struct facts_primary {
    bool is_reached;
    bool has_slot;
    char wal_status[16];
    int64_t lag_bytes;
    int tables; /* that are published */

    /* What the primary itself has written since the beat that is here (mirror/home.h). */
    bool knows_written;
    int64_t written_bytes, written_transactions; /* the latter -1: not known */
};

/* Text is borrowed from row; NULL where the database has NULL. */
struct facts {
    struct pg_result *row;
    const char *name, *role, *state, *detail, *ready_at, *primary_url, *local_bucket,
        *origin_bucket, *subscription, *received_lsn, *applied_lsn, *heartbeat_lsn, *source_url,
        *heartbeat_system, *lost_by;
    bool is_ready, has_subscription, is_enabled, has_worker, has_heartbeat;
    int tables_total, tables_ready;
    int64_t errors, waiting_bytes, message_age_ms, epoch, seq, heartbeat_age_ms;
    int64_t slices_waiting, slices_failing, heartbeat_timeline;
    int64_t heartbeat_xid; /* 0: of a primary that does not say */
};

/*
 * RC_NOT_FOUND  the database is no site of Tarn
 * RC_INVALID    it is a primary
 */
MUST_CHECK enum rc facts_read(struct pg *own, struct facts *out, struct err *e);
void facts_deinit(struct facts *f);
#define auto_facts __attribute__((cleanup(facts_deinit)))

/* Ask the primary about the slot; out->is_reached is false when it does not answer. */
void facts_ask_primary(struct pg *primary, const char *slot, struct facts_primary *out);

/* Bytes not applied yet: by the primary's word when it was reached, else by what was received. */
int64_t facts_lag_bytes(const struct facts *f, const struct facts_primary *p);

/* Transactions not applied yet, at most; -1 when the primary did not say. */
int64_t facts_lag_transactions(const struct facts *f, const struct facts_primary *p);

/* The document of `status --json` and /v1/status. */
MUST_CHECK enum rc facts_document(const struct facts *f, const struct facts_primary *p,
                                  struct json **out, struct err *e);

#endif
