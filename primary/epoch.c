#include "primary/epoch.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/volume/volume.h"
#include "primary/primary.h"

#define EPOCH_BYTES_MAX 4096
#define STORE_MS        30000

enum rc epoch_of_database(struct pg *pg, struct epoch_mark *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    enum rc rc = pg_call(pg, "SELECT * FROM tarn_1.epoch()", NULL, 0,
                         clock_deadline(PRIMARY_CALL_MS), &row, e);
    if (rc == RC_NOT_FOUND)
        return primary_not_adopted(e);
    if (rc)
        return err_note(e, "could not read the epoch");
    if (pg_rows(row) != 1) {
        err_fail(e, RC_INVALID, "this database is not a primary");
        return err_exits(e, EXIT_NOT_READY);
    }
    *out = (struct epoch_mark){
        .epoch = pg_get_int8(row, 0, pg_column(row, "epoch")),
        .timeline = pg_get_int8(row, 0, pg_column(row, "timeline")),
        .next_chunk = pg_get_int8(row, 0, pg_column(row, "next_chunk")),
    };
    (void)snprintf(out->system_identifier, sizeof(out->system_identifier), "%s",
                   pg_get_text(row, 0, pg_column(row, "system_identifier")));
    return RC_OK;
}

static enum rc write_mark(struct store *store, const struct epoch_mark *mark, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, EPOCH_BYTES_MAX);
    if (epoch_encode(mark, &text, e))
        return e->code;
    if (store_put(store, EPOCH_KEY, buf_bytes(&text), clock_deadline(STORE_MS), e))
        return err_note(e, "could not write object \"" EPOCH_KEY "\"");
    return RC_OK;
}

enum rc epoch_refresh(struct store *store, const struct epoch_mark *database, struct err *e)
{
    struct epoch_mark bucket;
    enum rc rc = epoch_read(store, &bucket, e);
    if (rc == RC_OK)
        rc = epoch_check(&bucket, database, e);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    return write_mark(store, database, e);
}

static enum rc raise_above(struct pg *pg, struct store *store, int64_t *out, struct err *e)
{
    struct epoch_mark mark = {0};
    enum rc rc = epoch_read(store, &mark, e);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    auto_result struct pg_result *row = NULL;
    const struct pg_param above = pg_int8(mark.epoch);
    if (pg_call(pg, "SELECT * FROM tarn_1.raise_epoch($1)", &above, 1,
                clock_deadline(PRIMARY_CALL_MS), &row, e))
        return e->code;
    *out = pg_get_int8(row, 0, 0);
    if (epoch_of_database(pg, &mark, e))
        return e->code;
    return write_mark(store, &mark, e);
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
