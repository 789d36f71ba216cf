/*
 * A batch of rows is repaired in one transaction of the mirror. The order is what keeps an apply
 * that goes on meanwhile from being overwritten by something older:
 *
 *   1  read the rows at the primary, write a marker there, see it here
 *   2  hold the table here: apply waits from now on, and what it had begun has ended
 *   3  wait for who writes the table at the primary: what they committed may be here already
 *   4  read the rows at the primary again, with their values
 *   5  write here those that 1 and 4 found unchanged, delete those that are gone there (why that is
 *      right: tarn_1.audit_repair), commit
 *   6  look whether they are still different, and take those once more
 *
 * Apply waits from 2 to 5: some round trips, and a second at most. Nothing is written at the
 * primary but the marker. Rows that only this site has go first of all, since a missing one may
 * need the number that they took.
 */
#include <inttypes.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/audit.h"
#include "mirror/mirror.h"

#define BATCH    50
#define ATTEMPTS 6
#define PAUSE_MS 200

static const char *const kinds[] = {"extra", "changed", "missing"};

static enum rc write_rows(struct audit *a, const struct audit_table *table, const char *keys,
                          const char *then, const char *now, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_int8(a->run), pg_text(table->text), pg_text(keys),
                                      pg_text(then), pg_text(now)};
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_repair($1,$2,$3,$4,$5)", params, 5, &row,
                  e))
        return err_note(e, "could not write rows of %s", table->relation);
    return RC_OK;
}

/* Steps 3 to 5 without the commit. Who does not come to an end leaves the rows for another time. */
static enum rc write_held(struct audit *a, const struct audit_table *table, const char *keys,
                          const char *then, struct err *e)
{
    auto_result struct pg_result *now = NULL;
    bool is_settled = false;
    if (mirror_do(a->own, "SELECT * FROM tarn_1.audit_hold($1)", table->text, e))
        return err_note(e, "could not hold %s", table->relation);
    if (audit_settle_writers(a, table, &is_settled, e) || !is_settled)
        return e->code;
    if (audit_rows(a, a->primary, table, keys, true, &now, e))
        return e->code;
    return write_rows(a, table, keys, then, pg_get_text(now, 0, 0), e);
}

static enum rc write_batch(struct audit *a, const struct audit_table *table, const char *keys,
                           struct err *e)
{
    auto_result struct pg_result *then = NULL;
    if (audit_rows(a, a->primary, table, keys, false, &then, e) || audit_marker(a, e))
        return e->code;
    const uint64_t deadline_ms = clock_deadline(MIRROR_CALL_MS);
    if (pg_script(a->own, "BEGIN", deadline_ms, e))
        return e->code;
    enum rc rc = write_held(a, table, keys, pg_get_text(then, 0, 0), e);
    if (rc == RC_OK)
        return pg_script(a->own, "COMMIT", deadline_ms, e);
    struct err ignored = ERR_INIT;
    if (pg_script(a->own, "ROLLBACK", deadline_ms, &ignored))
        log_debug("the connection is gone, and the transaction with it");
    return rc;
}

/* Of the keys, *still takes those that are different after all, or move too fast to tell. */
static enum rc verify(struct audit *a, const struct audit_table *table, const char *keys,
                      int64_t count, struct audit_keys *still, struct err *e)
{
    const int64_t moving = a->moving;
    auto_buf struct buf text;
    const char *left;
    buf_init(&text, AUDIT_KEYS_MAX);
    if (audit_settle(a, table, keys, count, still, e) || audit_keys_text(still, &text, &left, e))
        return e->code;
    a->moving = moving; /* those that move now were counted as different before */
    const struct pg_param params[] = {pg_int8(a->run), pg_text(table->text), pg_text(keys),
                                      pg_text(left)};
    auto_result struct pg_result *row = NULL;
    return audit_ask(a, a->own, "SELECT tarn_1.audit_mended($1,$2,$3,$4)", params, 4, &row, e);
}

static enum rc repair_batch(struct audit *a, const struct audit_table *table, const char *keys,
                            int64_t count, struct err *e)
{
    auto_buf struct buf text;
    const char *now = keys;
    int64_t left = count;
    buf_init(&text, AUDIT_KEYS_MAX);
    for (int attempt = 0; attempt < ATTEMPTS && left > 0; attempt++) {
        auto_keys struct audit_keys still;
        audit_keys_init(&still);
        clock_sleep_until(clock_deadline(attempt ? PAUSE_MS : 0));
        if (write_batch(a, table, now, e) || verify(a, table, now, left, &still, e))
            return e->code;
        buf_clear(&text);
        left = still.count;
        if (audit_keys_text(&still, &text, &now, e))
            return e->code;
    }
    if (left > 0)
        log_warn("%" PRId64 " rows of %s are different still", left, table->relation);
    return RC_OK;
}

/* The next findings of a kind behind `after`, which moves on. */
static enum rc repair_next(struct audit *a, const struct audit_table *table, const char *kind,
                           struct buf *after, bool *is_end, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const char *from;
    if (buf_cstr(after, &from, e))
        return e->code;
    const struct pg_param params[] = {pg_int8(a->run), pg_text(table->text), pg_text(kind),
                                      pg_text(from), pg_int4(BATCH)};
    if (audit_ask(a, a->own, "SELECT * FROM tarn_1.audit_unrepaired($1,$2,$3,$4,$5)", params, 5,
                  &row, e))
        return e->code;
    const char *keys = pg_get_text(row, 0, 0);
    *is_end = !keys;
    if (*is_end)
        return RC_OK;
    buf_clear(after);
    if (buf_add_str(after, pg_get_text(row, 0, 1), e))
        return e->code;
    return repair_batch(a, table, keys, pg_get_int8(row, 0, 2), e);
}

enum rc audit_repair(struct audit *a, const struct audit_table *table, struct err *e)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        auto_buf struct buf after;
        buf_init(&after, AUDIT_KEYS_MAX);
        for (bool is_end = false; !is_end;)
            if (repair_next(a, table, kinds[i], &after, &is_end, e))
                return err_note(e, "could not repair %s", table->relation);
    }
    return RC_OK;
}
