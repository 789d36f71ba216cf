#include "fs/base/buf.h"
#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"
#include "mirror/reseed_impl.h"

#define PAGE       10000 /* slices in one look */
#define TRIES      10
#define TRY_MS     300
#define SCRIPT_MAX ((size_t)64 << 20)

/* Blocks here of slices whose end the old copy has missed: nobody else knows of them. */
static enum rc remove_leftovers(struct reseed *r, struct pg *own, struct err *e)
{
    int64_t after = 0, ordered = 0;
    for (;;) {
        auto_result struct pg_result *page = NULL;
        auto_result struct pg_result *count = NULL;
        const struct pg_param range[] = {pg_int8(after), pg_int4(PAGE)};
        if (pg_call(own, "SELECT * FROM tarn_1.slice_page($1,$2)", range, 2,
                    clock_deadline(MIRROR_CALL_MS), &page, e))
            return e->code;
        if (pg_is_null(page, 0, pg_column(page, "last")))
            break;
        const struct pg_param slices[] = {pg_text(pg_get_text(page, 0, pg_column(page, "slices"))),
                                          pg_text(pg_get_text(page, 0, pg_column(page, "sizes")))};
        if (pg_call(r->copy, "SELECT * FROM tarn_1.order_removals($1,$2)", slices, 2,
                    clock_deadline(MIRROR_CALL_MS), &count, e))
            return e->code;
        after = pg_get_int8(page, 0, pg_column(page, "last"));
        ordered += pg_get_int8(count, 0, 0);
    }
    if (ordered > 0)
        log_info("blocks of %lld slices that ended meanwhile will be removed", (long long)ordered);
    return RC_OK;
}

static enum rc carry_over(struct reseed *r, struct pg *own, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.reseed_script()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e) ||
        pg_script(r->copy, pg_get_text(row, 0, 0), clock_deadline(MIRROR_CALL_MS), e))
        return err_note(e, "could not carry over what is this site's own");
    return RC_OK;
}

/* Neither of the two: a database with anybody in it cannot be renamed. */
static enum rc connect_elsewhere(const struct reseed *r, struct pg **out, struct err *e)
{
    struct err first = ERR_INIT;
    if (reseed_connect(r, "postgres", out, &first) == RC_OK)
        return RC_OK;
    if (reseed_connect(r, "template1", out, e) == RC_OK)
        return RC_OK;
    *e = first;
    return err_note(e, "could not connect to a third database to exchange the names from");
}

/* Somebody may come back between being sent away and the lock: then once more. */
static enum rc exchange_names(const struct reseed *r, const char *script, struct err *e)
{
    struct pg *elsewhere = NULL;
    enum rc rc = connect_elsewhere(r, &elsewhere, e);
    for (int i = 0; !rc && i < TRIES; i++) {
        rc = pg_script(elsewhere, script, clock_deadline(MIRROR_CALL_MS), e);
        if (!rc || !pg_is_open(elsewhere) || i + 1 == TRIES)
            break;
        *e = ERR_INIT;
        rc = RC_OK;
        clock_sleep_until(clock_deadline(TRY_MS));
    }
    pg_close(&elsewhere);
    return rc;
}

enum rc reseed_switch(struct reseed *r, struct pg **own, const struct facts *f, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (f->local_bucket && remove_leftovers(r, *own, e))
        return err_note(e, "could not order the removal of what has ended");
    if (carry_over(r, *own, e) ||
        mirror_do(r->copy, "SELECT * FROM tarn_1.follow_switch(false)", NULL, e) ||
        pg_call(*own, "SELECT * FROM tarn_1.switch_script()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    log_info("the new copy is consistent: it takes the place of the old one now");
    pg_close(&r->copy);
    pg_close(own);
    if (exchange_names(r, pg_get_text(row, 0, 0), e))
        return err_note(e, "could not exchange the names of the databases");
    return RC_OK;
}
