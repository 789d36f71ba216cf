#include "fs/volume/epoch_mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/json.h"

#define EPOCH_BYTES_MAX 4096
#define STORE_MS        30000
#define CALL_MS         60000

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
        return err_fail(e, RC_CORRUPT, "object \"" EPOCH_KEY "\" is no JSON");
    *out = (struct epoch_mark){
        .epoch = json_get_int(document, "epoch", -1),
        .timeline = json_get_int(document, "timeline", -1),
        .next_chunk = json_get_int(document, "next_chunk", -1),
    };
    const char *system = json_get_string(document, "system_identifier", "");
    (void)snprintf(out->system_identifier, sizeof(out->system_identifier), "%s", system);
    if (out->epoch < 0 || out->timeline < 0 || out->next_chunk < 0 || !system[0])
        return err_fail(e, RC_CORRUPT, "object \"" EPOCH_KEY "\" lacks a member");
    return RC_OK;
}

enum rc epoch_read(struct store *store, struct epoch_mark *out, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, EPOCH_BYTES_MAX);
    if (store_get(store, EPOCH_KEY, 0, STORE_TO_END, &text, clock_deadline(STORE_MS), e))
        return err_note(e, "could not read object \"" EPOCH_KEY "\"");
    return epoch_decode(buf_bytes(&text), out, e);
}

enum rc epoch_write(struct store *store, const struct epoch_mark *mark, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, EPOCH_BYTES_MAX);
    if (epoch_encode(mark, &text, e))
        return e->code;
    if (store_put(store, EPOCH_KEY, buf_bytes(&text), clock_deadline(STORE_MS), e))
        return err_note(e, "could not write object \"" EPOCH_KEY "\"");
    return RC_OK;
}

enum rc epoch_ask(struct pg *pg, struct epoch_mark *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(pg, "SELECT * FROM tarn_1.epoch()", NULL, 0, clock_deadline(CALL_MS), &row, e))
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
    err_fail(e, RC_INVALID,
             "the database is behind its bucket: %s (bucket: epoch %" PRId64 ", next slice %" PRId64
             "; database: epoch %" PRId64 ", next slice %" PRId64
             "); after a restore, end every client and run: tarn primary adopt "
             "--raise-epoch META-URL",
             why, bucket->epoch, bucket->next_chunk, database->epoch, database->next_chunk);
    return err_exits(e, EXIT_FAILED);
}
