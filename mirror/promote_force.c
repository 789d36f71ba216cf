/*
 * A promotion by force: the old primary is given up. What this site does not have is lost to it,
 * and said; what the old primary may still do is said, too.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"
#include "mirror/promote.h"
#include "mirror/tail_read.h"

#define REACH_MS 5000
#define DRAIN_MS 5000

/* Where this site has come to. */
static enum rc tell_position(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.mirror_facts()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask how far this site is");
    const char *lsn = pg_get_text(row, 0, pg_column(row, "applied_lsn"));
    return promote_note(p, "position", e,
                        "applied up to %s of \"%s\", heartbeat %" PRId64 ", %.1f s old",
                        lsn ? lsn : "an unknown position", p->old_site,
                        pg_get_int8(row, 0, pg_column(row, "heartbeat_seq")),
                        (double)pg_get_int8(row, 0, pg_column(row, "heartbeat_age_ms")) / 1000);
}

/* The old primary answers: stop its writers, and take what it can still send. */
static void stop_and_take(struct promote *p)
{
    struct err e = ERR_INIT;
    if (promote_fence(p, &e)) {
        log_err(LOG_LEVEL_WARN, &e, "\"%s\" answers but could not be fenced", p->old_site);
        return;
    }
    e = ERR_INIT;
    if (mirror_do(p->own, "SELECT tarn_1.promote_resume()", NULL, &e) ||
        promote_drain(p, DRAIN_MS, &e))
        log_err(LOG_LEVEL_WARN, &e, "what \"%s\" has not sent stays behind", p->old_site);
}

static enum rc reach(struct promote *p, struct err *e)
{
    struct err away = ERR_INIT;
    if (promote_reach_old(p, REACH_MS, &away)) {
        log_err(LOG_LEVEL_WARN, &away, "going on without \"%s\"", p->old_site);
        return promote_note(p, "fence", e, "NOT fenced: \"%s\" cannot be reached from here",
                            p->old_site);
    }
    stop_and_take(p);
    return RC_OK;
}

/* What stays behind, where it can be read. Only a look: the slot keeps it for tarn mirror rejoin.
 */
static enum rc tell_tail(struct promote *p, struct err *e)
{
    struct err unread = ERR_INIT;
    struct tail_sums lost = {0};
    uint64_t applied = 0;
    char slot[PROMOTE_NAME_MAX + 8];
    (void)snprintf(slot, sizeof(slot), "tarn_%s", p->site);
    if (!p->old)
        return promote_note(p, "tail", e, "unknown: the old primary cannot be read");
    if (tail_applied(p->own, p->old_site, &applied, &unread) ||
        tail_count(p->old, slot, applied, &lost, &unread)) {
        log_err(LOG_LEVEL_WARN, &unread, "what stays behind could not be read");
        return promote_note(p, "tail", e, "unknown: slot %s cannot be read", slot);
    }
    if (lost.commits == 0)
        return promote_note(p, "tail", e, "nothing: all that \"%s\" has committed is here",
                            p->old_site);
    return promote_note(
        p, "tail", e,
        "%" PRId64 " commits from %s to %s are not here: %" PRId64 " rows inserted, %" PRId64
        " updated, %" PRId64 " deleted; slot %s keeps them for tarn mirror rejoin",
        lost.commits, lost.first, lost.last, lost.inserts, lost.updates, lost.deletes, slot);
}

static enum rc tell_what_to_revoke(struct promote *p, struct err *e)
{
    if (p->is_fenced)
        return promote_note(p, "revoke", e, "nothing: \"%s\" is read-only until it rejoins",
                            p->old_site);
    if (promote_note(p, "revoke", e,
                     "\"%s\" may still be written by its clients, and nobody can stop that from "
                     "here; its numbers are others than ours, but what is written there is lost",
                     p->old_site) ||
        promote_note(p, "revoke", e, "its clients' credentials for the bucket %s",
                     p->old_bucket[0] ? p->old_bucket : "that both sites write"))
        return e->code;
    return promote_note(p, "revoke", e,
                        "the network between its clients and its PostgreSQL, or there: make the "
                        "database read-only by default (default_transaction_read_only) and end its "
                        "sessions; a primary that runs with --lease does so by itself");
}

static enum rc tell_next(struct promote *p, struct err *e)
{
    auto_result struct pg_result *sites = NULL;
    if (pg_call(p->own, "SELECT * FROM tarn_1.sites()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &sites, e))
        return err_note(e, "could not list the other sites");
    for (int i = 0; i < pg_rows(sites); i++) {
        const char *name = pg_get_text(sites, i, pg_column(sites, "name"));
        if (strcmp(name, p->site) != 0 &&
            promote_note(p, "next", e,
                         "mirror \"%s\" may have come further or less far: tarn mirror leave "
                         "--force and tarn mirror join it to this site, beside the one that serves",
                         name))
            return e->code;
    }
    return promote_note(p, "next", e,
                        "when \"%s\" is back: tarn mirror rejoin OLD-URL --primary THIS-URL",
                        p->old_site);
}

static enum rc before_switch(struct promote *p, struct err *e)
{
    if (promote_begin(p, "forced", e) ||
        mirror_do(p->own, "SELECT tarn_1.promote_publish()", NULL, e) || reach(p, e) ||
        promote_pause(p, e) || tell_position(p, e) || tell_tail(p, e) || promote_claim(p, e))
        return e->code;
    return promote_switch(p, NULL, e);
}

enum rc promote_forced(struct promote *p, struct err *e)
{
    if (p->has_switched ? promote_buckets_open(p, e) : before_switch(p, e))
        return e->code;
    if (promote_mark(p, e) || promote_finish(p, e) || tell_what_to_revoke(p, e))
        return e->code;
    return tell_next(p, e);
}
