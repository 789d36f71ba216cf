#include "primary/epoch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/json.h"
#include "fs/volume/volume.h"
#include "primary/primary.h"

#define EPOCH_KEY       "tarn/epoch"
#define EPOCH_BYTES_MAX 4096
#define STORE_MS        30000

enum rc epoch_encode(const struct epoch_mark *mark, struct buf *out, struct err *e)
{
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_int(document, "epoch", mark->epoch, e) ||
        json_set_string(document, "system_identifier", mark->system_identifier, e) ||
        json_set_int(document, "timeline", mark->timeline, e) ||
        json_set_int(document, "next_chunk", mark->next_chunk, e))
        return e->code;
    return json_write(document, JSON_COMPACT, out, e);
}

enum rc epoch_decode(struct bytes text, struct epoch_mark *out, struct err *e)
{
    auto_json struct json *document = NULL;
    struct err ignored = ERR_INIT;
    if (json_parse(text, &document, &ignored))
        return err_fail(e, RC_CORRUPT, "object \"%s\" is no JSON", EPOCH_KEY);
    *out = (struct epoch_mark){
        .epoch = json_get_int(document, "epoch", -1),
        .timeline = json_get_int(document, "timeline", -1),
        .next_chunk = json_get_int(document, "next_chunk", -1),
    };
    const char *system = json_get_string(document, "system_identifier", "");
    (void)snprintf(out->system_identifier, sizeof(out->system_identifier), "%s", system);
    if (out->epoch < 0 || out->timeline < 0 || out->next_chunk < 0 || !system[0])
        return err_fail(e, RC_CORRUPT, "object \"%s\" lacks a member", EPOCH_KEY);
    return RC_OK;
}

/* How the database falls short of the bucket, or NULL. */
static const char *shortfall(const struct epoch_mark *bucket, const struct epoch_mark *database)
{
    if (database->epoch != bucket->epoch)
        return database->epoch < bucket->epoch ? "its epoch is over" : NULL;
    if (strcmp(database->system_identifier, bucket->system_identifier) != 0)
        return "another PostgreSQL cluster owns this epoch";
    if (database->timeline < bucket->timeline)
        return "it is on an older timeline";
    if (database->next_chunk < bucket->next_chunk)
        return "it has forgotten slice ids that were given out";
    return NULL;
}

enum rc epoch_check(const struct epoch_mark *bucket, const struct epoch_mark *database,
                    struct err *e)
{
    const char *why = shortfall(bucket, database);
    if (!why)
        return RC_OK;
    return err_fail(e, RC_INVALID,
                    "the database is behind its bucket: %s (bucket: epoch %" PRId64
                    ", next slice %" PRId64 "; database: epoch %" PRId64 ", next slice %" PRId64
                    "); after a restore, end every client and run: tarn-primary adopt "
                    "--raise-epoch META-URL",
                    why, bucket->epoch, bucket->next_chunk, database->epoch, database->next_chunk);
}

enum rc epoch_of_database(struct pg *pg, struct epoch_mark *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(pg, "SELECT * FROM tarn_1.epoch()", NULL, 0, clock_deadline(PRIMARY_CALL_MS), &row,
                e))
        return err_note(e, "could not read the epoch");
    if (pg_rows(row) != 1)
        return err_fail(e, RC_INVALID, "this database is not a primary");
    *out = (struct epoch_mark){
        .epoch = pg_get_int8(row, 0, pg_column(row, "epoch")),
        .timeline = pg_get_int8(row, 0, pg_column(row, "timeline")),
        .next_chunk = pg_get_int8(row, 0, pg_column(row, "next_chunk")),
    };
    (void)snprintf(out->system_identifier, sizeof(out->system_identifier), "%s",
                   pg_get_text(row, 0, pg_column(row, "system_identifier")));
    return RC_OK;
}

/* RC_NOT_FOUND: no agent has written it yet. */
static enum rc read_mark(struct store *store, struct epoch_mark *out, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, EPOCH_BYTES_MAX);
    if (store_get(store, EPOCH_KEY, 0, STORE_TO_END, &text, clock_deadline(STORE_MS), e))
        return err_note(e, "could not read object \"%s\"", EPOCH_KEY);
    return epoch_decode(buf_bytes(&text), out, e);
}

static enum rc write_mark(struct store *store, const struct epoch_mark *mark, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, EPOCH_BYTES_MAX);
    if (epoch_encode(mark, &text, e))
        return e->code;
    if (store_put(store, EPOCH_KEY, buf_bytes(&text), clock_deadline(STORE_MS), e))
        return err_note(e, "could not write object \"%s\"", EPOCH_KEY);
    return RC_OK;
}

enum rc epoch_refresh(struct store *store, const struct epoch_mark *database, struct err *e)
{
    struct epoch_mark bucket;
    enum rc rc = read_mark(store, &bucket, e);
    if (rc == RC_OK)
        rc = epoch_check(&bucket, database, e);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        return rc;
    return write_mark(store, database, e);
}

static enum rc raise_above(struct pg *pg, struct store *store, int64_t *out, struct err *e)
{
    struct epoch_mark mark = {0};
    enum rc rc = read_mark(store, &mark, e);
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
