#include "primary/epoch.h"

#include "fs/base/clock.h"
#include "fs/volume/volume.h"
#include "primary/primary.h"

enum rc epoch_of_database(struct pg *pg, struct epoch_mark *out, struct err *e)
{
    enum rc rc = epoch_ask(pg, out, e);
    return rc == RC_NOT_FOUND ? primary_not_adopted(e) : rc;
}

enum rc epoch_refresh(struct store *store, const struct epoch_mark *database, struct err *e)
{
    struct epoch_mark bucket;
    enum rc rc = epoch_read(store, &bucket, e);
    if (rc == RC_OK)
        rc = epoch_check(&bucket, database, e);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    return epoch_write(store, database, e);
}

static enum rc raise_above(struct pg *pg, struct store *store, int64_t *out, struct err *e)
{
    struct epoch_mark mark = {0};
    enum rc rc = epoch_read(store, &mark, e);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    *e = ERR_INIT;
    auto_result struct pg_result *row = NULL;
    const struct pg_param above = pg_int8(rc ? 0 : epoch_reached(&mark));
    if (pg_call(pg, "SELECT * FROM tarn_1.raise_epoch($1)", &above, 1,
                clock_deadline(PRIMARY_CALL_MS), &row, e))
        return e->code;
    *out = pg_get_int8(row, 0, 0);
    auto_result struct pg_result *broken = NULL;
    if (pg_call(pg, "SELECT tarn_1.beat_break()", NULL, 0, clock_deadline(PRIMARY_CALL_MS), &broken,
                e))
        return err_note(e, "could not tell the mirrors");
    if (epoch_of_database(pg, &mark, e))
        return e->code;
    return epoch_write(store, &mark, e);
}

enum rc epoch_raise(const char *url, const char *bucket, int64_t *out, struct err *e)
{
    const struct volume_options options = {
        .meta = {.url = url, .application = "tarn-primary", .max_conns = 1, .is_read_only = true},
        .bucket = bucket,
        .checks_uuid = true,
    };
    struct volume *volume = NULL;
    struct pg *pg = NULL;
    enum rc rc = volume_open(&volume, &options, e);
    if (!rc)
        rc = primary_connect(&pg, url, e);
    if (!rc)
        rc = raise_above(pg, volume_store(volume), out, e);
    pg_close(&pg);
    volume_close(&volume);
    return rc;
}
