#include "mirror/tail_read.h"

#include <string.h>

#include "fs/base/clock.h"
#include "mirror/mirror.h"

#define READ_MS     600000
#define IN_USE_MS   10000 /* until whoever read from the slot has let go of it */
#define PAUSE_MS    200
#define COUNT_LIMIT 1000000

static enum rc peek(struct pg *old, const char *slot, int32_t limit, struct pg_result **out,
                    struct err *e)
{
    const struct pg_param params[] = {pg_text(slot), pg_int4(limit)};
    const uint64_t give_up_ms = clock_deadline(IN_USE_MS);
    for (;;) {
        enum rc rc = pg_call(old, "SELECT * FROM tarn_1.tail($1,$2)", params, 2,
                             clock_deadline(READ_MS), out, e);
        const bool is_in_use = rc && strcmp(pg_sqlstate(old), "55006") == 0;
        if (!is_in_use || clock_left(give_up_ms) == 0)
            return rc;
        clock_sleep_until(clock_deadline(PAUSE_MS));
    }
}

enum rc tail_read(struct pg *old, const char *slot, int32_t limit, struct tail *t, tail_visit visit,
                  void *arg, int *messages, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (peek(old, slot, limit, &rows, e))
        return err_note(e, "could not read slot \"%s\"", slot);
    const int data = pg_column(rows, "data");
    *messages = pg_rows(rows);
    for (int i = 0; i < *messages; i++)
        if (tail_feed(t, pg_get_bytes(rows, i, data), visit, arg, e))
            return err_note(e, "slot \"%s\"", slot);
    return RC_OK;
}

enum rc tail_applied(struct pg *own, const char *old_site, uint64_t *lsn, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(old_site);
    if (pg_call(own, "SELECT * FROM tarn_1.promote_applied($1)", &param, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask how far \"%s\" was applied", old_site);
    *lsn = (uint64_t)pg_get_int8(row, 0, 0);
    return RC_OK;
}

enum rc tail_count(struct pg *old, const char *slot, uint64_t applied_lsn, struct tail_sums *out,
                   struct err *e)
{
    struct tail *t = NULL;
    int messages = 0;
    enum rc rc = tail_open(&t, applied_lsn, e);
    if (!rc)
        rc = tail_read(old, slot, COUNT_LIMIT, t, NULL, NULL, &messages, e);
    if (!rc)
        *out = *tail_sums(t);
    tail_close(&t);
    return rc;
}
