#include "mirror/home.h"

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

struct pg *home_reach(struct home *home, struct pg *own, struct pg *followed, const struct facts *f)
{
    struct err e = ERR_INIT;
    if (!f->source_url)
        return followed && pg_is_open(followed) ? followed : NULL;
    if (home->pg && !pg_is_open(home->pg))
        pg_close(&home->pg);
    if (!home->pg && mirror_connect_home(own, NULL, NULL, MIRROR_ASK_MS, &home->pg, &e))
        log_err(LOG_LEVEL_DEBUG, &e, "could not reach the primary behind the source");
    return home->pg;
}

/* A mirror that has lost rows says nothing: what it still names may go when its time is over. */
static void report(struct pg *pg, const struct facts *f)
{
    struct err e = ERR_INIT;
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_text(f->name), pg_text(f->heartbeat_lsn)};
    if (!f->is_ready || !f->heartbeat_lsn || mirror_state_parse(f->state) == MIRROR_LOST)
        return;
    if (pg_call(pg, "SELECT * FROM tarn_1.follower_report($1,$2)", params, 2,
                clock_deadline(MIRROR_ASK_MS), &row, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not tell the primary how far this mirror is");
}

void home_ask(struct home *home, struct pg *own, struct pg *followed, const struct facts *f,
              struct facts_primary *said)
{
    struct err ignored = ERR_INIT;
    auto_result struct pg_result *row = NULL;
    struct pg *pg = home_reach(home, own, followed, f);
    said->knows_written = false;
    if (!pg || !f->heartbeat_lsn)
        return;
    const struct pg_param params[] = {pg_text(f->heartbeat_lsn), pg_int8(f->heartbeat_xid)};
    if (pg_call(pg, "SELECT * FROM tarn_1.written_since($1,$2)", params, 2,
                clock_deadline(MIRROR_ASK_MS), &row, &ignored))
        return;
    said->knows_written = true;
    said->written_bytes = pg_get_int8(row, 0, pg_column(row, "bytes"));
    said->written_transactions =
        f->heartbeat_xid > 0 ? pg_get_int8(row, 0, pg_column(row, "transactions")) : -1;
    if (f->source_url)
        report(pg, f);
}

void home_close(struct home *home)
{
    pg_close(&home->pg);
}
