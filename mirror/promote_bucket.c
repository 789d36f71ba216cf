/*
 * The buckets of a promotion. A mirror with a bucket of its own writes to that one afterwards, and
 * reads what is missing there from the old one; a mirror without shares the old one.
 */
#include <inttypes.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/meta/format_edit.h"
#include "fs/meta/settings.h"
#include "fs/volume/epoch_mark.h"
#include "mirror/mirror.h"
#include "mirror/promote.h"

#define FILE_URL "file://"

static struct store *own_store(const struct promote *p)
{
    struct store *local = volume_local(p->volume);
    return local ? local : volume_origin(p->volume);
}

/* NULL: there is but one bucket. */
static struct store *old_store(const struct promote *p)
{
    return volume_local(p->volume) ? volume_origin(p->volume) : volume_former(p->volume);
}

enum rc promote_buckets_open(struct promote *p, struct err *e)
{
    const struct volume_options options = {
        .meta = {.url = p->url, .application = "tarn-mirror", .max_conns = 1, .is_read_only = true},
        .checks_uuid = true,
    };
    if (volume_open(&p->volume, &options, e))
        return e->code;
    if (volume_local(p->volume) && volume_claim_local(p->volume, e))
        return e->code;
    return RC_OK;
}

/* Raise *above to what a bucket says. One that says nothing yet is fine. */
static enum rc look_at(struct store *store, int64_t *above, struct err *e)
{
    struct epoch_mark mark;
    struct err found = ERR_INIT;
    enum rc rc = epoch_read(store, &mark, &found);
    if (rc == RC_NOT_FOUND)
        return RC_OK;
    if (rc) {
        *e = found;
        return rc;
    }
    const int64_t epoch = epoch_reached(&mark);
    if (epoch > *above)
        *above = epoch;
    return RC_OK;
}

static enum rc ask_old(struct promote *p, int64_t *above, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(p->old, "SELECT * FROM tarn_1.demote_facts()", NULL, 0,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not ask the old primary for its epoch");
    const int64_t epoch = pg_get_int8(row, 0, pg_column(row, "epoch"));
    if (epoch > *above)
        *above = epoch;
    return RC_OK;
}

enum rc promote_epoch_above(struct promote *p, struct err *e)
{
    struct err unread = ERR_INIT;
    if (p->knows_above)
        return RC_OK;
    p->above = 0;
    if (look_at(own_store(p), &p->above, e))
        return e->code;
    if (old_store(p) && look_at(old_store(p), &p->above, &unread)) {
        if (!p->o->is_forced) {
            *e = unread;
            return e->code;
        }
        log_err(LOG_LEVEL_WARN, &unread, "going on without the epoch of the old bucket");
    }
    if (p->old && ask_old(p, &p->above, e))
        return e->code;
    p->knows_above = true;
    return RC_OK;
}

/* The old bucket may be out of reach; that does not hold up a promotion. */
static void mark_old(struct promote *p, const struct epoch_mark *mark)
{
    struct err e = ERR_INIT;
    if (old_store(p) && epoch_write(old_store(p), mark, &e))
        log_err(LOG_LEVEL_WARN, &e,
                "the old bucket does not know of the new epoch: do not start the old primary's "
                "agent before tarn mirror rejoin");
}

enum rc promote_claim(struct promote *p, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (promote_epoch_above(p, e))
        return e->code;
    const struct pg_param param = pg_int8(p->above);
    if (pg_call(p->own, "SELECT * FROM tarn_1.promote_claim($1)", &param, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not choose the epoch");
    struct epoch_mark mark = {
        .epoch = pg_get_int8(row, 0, pg_column(row, "epoch")),
        .timeline = pg_get_int8(row, 0, pg_column(row, "timeline")),
        .next_chunk = pg_get_int8(row, 0, pg_column(row, "next_chunk")),
    };
    (void)snprintf(mark.system_identifier, sizeof(mark.system_identifier), "%s",
                   pg_get_text(row, 0, pg_column(row, "system_identifier")));
    if (old_store(p))
        mark_old(p, &mark);
    else if (epoch_write(own_store(p), &mark, e))
        return err_note(e, "nobody can be kept from going on with the old epoch");
    return RC_OK;
}

enum rc promote_mark(struct promote *p, struct err *e)
{
    struct epoch_mark mark;
    if (epoch_ask(p->own, &mark, e) || epoch_write(own_store(p), &mark, e))
        return e->code;
    mark_old(p, &mark);
    return promote_note(p, "mark", e, "the buckets know that epoch %" PRId64 " has begun",
                        mark.epoch);
}

enum rc promote_format(struct promote *p, struct buf *was, struct buf *is, struct err *e)
{
    if (!p->has_own_bucket)
        return RC_OK;
    if (strncmp(p->own_bucket, FILE_URL, strlen(FILE_URL)) != 0)
        return err_fail(e, RC_INVALID, "bucket \"%s\" is no directory", p->own_bucket);
    if (settings_read(p->own, was, clock_deadline(MIRROR_CALL_MS), e) ||
        buf_add(is, was->data, was->size, e))
        return e->code;
    return format_edit_string(is, "Bucket", p->own_bucket + strlen(FILE_URL), e);
}
