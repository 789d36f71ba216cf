#include "fs/meta/upkeep.h"

#include "fs/base/wire.h"
#include "fs/meta/reply.h"

#define ARRAY_BYTES_MAX ((size_t)16 << 20)
/* 1000 records with the sums of a 64 MiB slice each. */
#define RECORDS_BYTES_MAX ((size_t)8 << 20)

/* Make a call that answers at least one row. */
static enum rc ask(struct meta *meta, const struct call *call, const char *what,
                   struct pg_result **out, struct err *e)
{
    if (retry_at_primary(meta, call, out, e))
        return err_note(e, "%s", what);
    if (pg_rows(*out) > 0)
        return RC_OK;
    return err_fail(e, RC_CORRUPT, "%s: a metadata function answered nothing", what);
}

/* Make a call that answers one number, which is not negative. */
static enum rc ask_number(struct meta *meta, const struct call *call, const char *what,
                          const char *column, uint64_t *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (ask(meta, call, what, &answer, e))
        return e->code;
    const int64_t n = pg_get_int8(answer, 0, pg_column(answer, column));
    *out = n > 0 ? (uint64_t)n : 0;
    return RC_OK;
}

static enum rc ask_bool(struct meta *meta, const struct call *call, const char *what,
                        const char *column, bool *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (ask(meta, call, what, &answer, e))
        return e->code;
    *out = pg_get_bool(answer, 0, pg_column(answer, column));
    return RC_OK;
}

/* Make a call that answers a list of numbers. */
static enum rc ask_list(struct meta *meta, const struct call *call, const char *what,
                        const char *column, struct number_list *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    *out = (struct number_list){0};
    if (retry_at_primary(meta, call, &answer, e))
        return err_note(e, "%s", what);
    const size_t rows = (size_t)pg_rows(answer);
    out->items = calloc(rows ? rows : 1, sizeof(*out->items));
    if (!out->items)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const int at = pg_column(answer, column);
    for (; out->count < rows; out->count++)
        out->items[out->count] = (uint64_t)pg_get_int8(answer, (int)out->count, at);
    return RC_OK;
}

/* ---- whose turn it is ---- */

enum rc meta_job_begin(struct meta *meta, const char *job, const char *gate, int64_t every_s,
                       const char *runner, bool *is_ours, struct err *e)
{
    struct pg_param params[] = {pg_text(job), pg_text(gate), pg_int8(every_s), pg_text(runner)};
    return ask_bool(meta, CALL_LONG("SELECT * FROM tarn_1.job_begin($1,$2,$3,$4)", params),
                    "job_begin", "is_ours", is_ours, e);
}

enum rc meta_job_end(struct meta *meta, const char *job, const char *runner, bool is_ok,
                     uint64_t items, const char *note, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_text(job), pg_text(runner), pg_bool(is_ok),
                                pg_int8((int64_t)items), pg_text(note)};
    return ask(meta, CALL_LONG("SELECT tarn_1.job_end($1,$2,$3,$4,$5)", params), "job_end", &answer,
               e);
}

enum rc meta_keep_window_set(struct meta *meta, int64_t seconds, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8(seconds)};
    return ask(meta, CALL_LONG("SELECT tarn_1.keep_window_set($1)", params), "keep_window_set",
               &answer, e);
}

enum rc meta_followers(struct meta *meta, meta_follower_visit visit, void *arg, struct err *e)
{
    const struct call call = {"SELECT * FROM tarn_1.followers_watch()", NULL, 0, true};
    auto_result struct pg_result *r = NULL;
    if (retry_at_primary(meta, &call, &r, e))
        return err_note(e, "followers_watch");
    const int site = pg_column(r, "site"), is_awaited = pg_column(r, "is_awaited");
    const int silent_s = pg_column(r, "silent_s");
    for (int row = 0; row < pg_rows(r); row++) {
        const struct meta_follower follower = {.site = pg_get_text(r, row, site),
                                               .is_awaited = pg_get_bool(r, row, is_awaited),
                                               .silent_s = pg_get_int8(r, row, silent_s)};
        visit(&follower, arg);
    }
    return RC_OK;
}

enum rc meta_upkeep_status(struct meta *meta, struct buf *out, struct err *e)
{
    const struct call call = {"SELECT * FROM tarn_1.upkeep_status()", NULL, 0, true};
    auto_result struct pg_result *answer = NULL;
    if (ask(meta, &call, "upkeep_status", &answer, e))
        return e->code;
    const struct bytes text = pg_get_bytes(answer, 0, pg_column(answer, "status"));
    return buf_add(out, text.data, text.size, e);
}

/* ---- sessions ---- */

enum rc meta_stale_sessions(struct meta *meta, int32_t limit, struct number_list *out,
                            struct err *e)
{
    struct pg_param params[] = {pg_int4(limit)};
    return ask_list(meta, CALL_LONG("SELECT * FROM tarn_1.stale_sessions($1)", params),
                    "stale_sessions", "sid", out, e);
}

enum rc meta_session_reap(struct meta *meta, uint64_t sid, bool *is_reaped, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)sid)};
    return ask_bool(meta, CALL_LONG("SELECT * FROM tarn_1.session_reap($1)", params),
                    "session_reap", "is_reaped", is_reaped, e);
}

enum rc meta_orphan_lanes(struct meta *meta, uint64_t *lanes, struct err *e)
{
    const struct call call = {"SELECT * FROM tarn_1.orphan_lanes()", NULL, 0, true};
    return ask_number(meta, &call, "orphan_lanes", "lanes", lanes, e);
}

/* ---- files and slices ---- */

enum rc meta_dying_files(struct meta *meta, int64_t older_s, ino_num after, int32_t limit,
                         struct number_list *out, struct err *e)
{
    struct pg_param params[] = {pg_int8(older_s), pg_int8((int64_t)after), pg_int4(limit)};
    return ask_list(meta, CALL_LONG("SELECT * FROM tarn_1.dying_files($1,$2,$3)", params),
                    "dying_files", "ino", out, e);
}

enum rc meta_chunks_drop(struct meta *meta, ino_num ino, int32_t limit, uint32_t *chunks,
                         bool *is_done, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)meta_session_id(meta)), pg_int8((int64_t)ino),
                                pg_int4(limit)};
    if (ask(meta, CALL_LONG("SELECT * FROM tarn_1.chunks_drop($1,$2,$3)", params), "chunks_drop",
            &answer, e) ||
        reply_check(answer, "chunks_drop", ino, e))
        return e->code;
    *chunks = (uint32_t)pg_get_int4(answer, 0, pg_column(answer, "chunks"));
    *is_done = pg_get_bool(answer, 0, pg_column(answer, "is_done"));
    return RC_OK;
}

enum rc meta_doomed_scan(struct meta *meta, int32_t limit, uint64_t *found, struct err *e)
{
    struct pg_param params[] = {pg_int4(limit)};
    return ask_number(meta, CALL_LONG("SELECT * FROM tarn_1.doomed_scan($1)", params),
                      "doomed_scan", "found", found, e);
}

enum rc meta_doomed_take(struct meta *meta, int32_t limit, int32_t lease_s,
                         struct meta_doomed **out, size_t *count, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    struct pg_param params[] = {pg_int4(limit), pg_int4(lease_s)};
    *out = NULL;
    *count = 0;
    if (retry_at_primary(meta, CALL_LONG("SELECT * FROM tarn_1.doomed_take($1,$2)", params), &r, e))
        return err_note(e, "doomed_take");
    const size_t rows = (size_t)pg_rows(r);
    struct meta_doomed *list = calloc(rows ? rows : 1, sizeof(*list));
    if (!list)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const int slice = pg_column(r, "slice"), size = pg_column(r, "size");
    for (size_t i = 0; i < rows; i++)
        list[i] = (struct meta_doomed){.slice = (uint64_t)pg_get_int8(r, (int)i, slice),
                                       .size = (uint32_t)pg_get_int4(r, (int)i, size)};
    *out = list;
    *count = rows;
    return RC_OK;
}

enum rc meta_doomed_done(struct meta *meta, const int64_t *slices, size_t count, uint64_t *removed,
                         struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, ARRAY_BYTES_MAX);
    struct pg_param params[1];
    if (pg_int8_array(&scratch, slices, count, &params[0], e))
        return e->code;
    return ask_number(meta, CALL_LONG("SELECT * FROM tarn_1.doomed_done($1)", params),
                      "doomed_done", "removed", removed, e);
}

enum rc meta_doomed_left(struct meta *meta, const int64_t *slices, size_t count, int32_t pause_s,
                         struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, ARRAY_BYTES_MAX);
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {{0}, pg_int4(pause_s)};
    if (pg_int8_array(&scratch, slices, count, &params[0], e))
        return e->code;
    return ask(meta, CALL_LONG("SELECT tarn_1.doomed_left($1,$2)", params), "doomed_left", &answer,
               e);
}

enum rc meta_sums_sweep(struct meta *meta, uint64_t *at, int32_t count, uint64_t *removed,
                        struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)*at), pg_int4(count)};
    if (ask(meta, CALL_LONG("SELECT * FROM tarn_1.sums_sweep($1,$2)", params), "sums_sweep",
            &answer, e))
        return e->code;
    *at = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "next"));
    *removed = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "removed"));
    return RC_OK;
}

/* ---- the trash and the change log ---- */

enum rc meta_delayed_expire(struct meta *meta, int32_t limit, uint64_t *expired, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int4(limit)};
    if (ask(meta, CALL_LONG("SELECT * FROM tarn_1.delayed_expire($1)", params), "delayed_expire",
            &answer, e))
        return e->code;
    *expired = (uint64_t)pg_get_int4(answer, 0, pg_column(answer, "expired"));
    return RC_OK;
}

enum rc meta_trash_due(struct meta *meta, struct number_list *out, struct err *e)
{
    const struct call call = {"SELECT * FROM tarn_1.trash_due()", NULL, 0, true};
    return ask_list(meta, &call, "trash_due", "ino", out, e);
}

/* What both kinds of emptying answer. */
static enum rc purge(struct meta *meta, const char *sql, ino_num root, int32_t limit,
                     uint64_t *removed, bool *is_empty, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)root), pg_int4(limit)};
    if (ask(meta, CALL_LONG(sql, params), "purge", &answer, e))
        return e->code;
    *removed = (uint64_t)pg_get_int4(answer, 0, pg_column(answer, "removed"));
    *is_empty = pg_get_bool(answer, 0, pg_column(answer, "is_empty"));
    return RC_OK;
}

enum rc meta_trash_purge(struct meta *meta, ino_num hour, int32_t limit, uint64_t *removed,
                         bool *is_empty, struct err *e)
{
    return purge(meta, "SELECT * FROM tarn_1.tree_purge($1,$2)", hour, limit, removed, is_empty, e);
}

enum rc meta_trash_hour_drop(struct meta *meta, ino_num hour, struct err *e)
{
    bool is_dropped; /* else somebody was quicker, or has put something in */
    struct pg_param params[] = {pg_int8((int64_t)hour)};
    return ask_bool(meta, CALL_LONG("SELECT * FROM tarn_1.trash_hour_drop($1)", params),
                    "trash_hour_drop", "is_dropped", &is_dropped, e);
}

enum rc meta_detached_due(struct meta *meta, int64_t older_s, int32_t limit,
                          struct number_list *out, struct err *e)
{
    struct pg_param params[] = {pg_int8(older_s), pg_int4(limit)};
    return ask_list(meta, CALL_LONG("SELECT * FROM tarn_1.detached_due($1,$2)", params),
                    "detached_due", "ino", out, e);
}

enum rc meta_detached_purge(struct meta *meta, ino_num root, int32_t limit, uint64_t *removed,
                            bool *is_empty, struct err *e)
{
    return purge(meta, "SELECT * FROM tarn_1.detached_purge($1,$2)", root, limit, removed, is_empty,
                 e);
}

enum rc meta_detached_drop(struct meta *meta, ino_num root, struct err *e)
{
    bool is_dropped;
    struct pg_param params[] = {pg_int8((int64_t)root)};
    return ask_bool(meta, CALL_LONG("SELECT * FROM tarn_1.detached_drop($1)", params),
                    "detached_drop", "is_dropped", &is_dropped, e);
}

enum rc meta_change_log_expire(struct meta *meta, int32_t limit, uint64_t *expired, struct err *e)
{
    struct pg_param params[] = {pg_int4(limit)};
    return ask_number(meta, CALL_LONG("SELECT * FROM tarn_1.change_log_expire($1)", params),
                      "change_log_expire", "expired", expired, e);
}

/* ---- statistics of directories ---- */

static struct meta_drift drift_of(const struct pg_result *r, int row)
{
    return (struct meta_drift){
        .dir = (ino_num)pg_get_int8(r, row, pg_column(r, "dir")),
        .has = {.length = pg_get_int8(r, row, pg_column(r, "has_length")),
                .space = pg_get_int8(r, row, pg_column(r, "has_space")),
                .entries = pg_get_int8(r, row, pg_column(r, "has_entries"))},
        .counted = {.length = pg_get_int8(r, row, pg_column(r, "length")),
                    .space = pg_get_int8(r, row, pg_column(r, "space")),
                    .entries = pg_get_int8(r, row, pg_column(r, "entries"))},
    };
}

enum rc meta_dir_stats_differ(struct meta *meta, uint64_t *at, int32_t count,
                              struct meta_drift **out, size_t *found, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    struct pg_param params[] = {pg_int8((int64_t)*at), pg_int4(count)};
    *out = NULL;
    *found = 0;
    *at = 0;
    if (retry_at_primary(meta, CALL_LONG("SELECT * FROM tarn_1.dir_stats_differ($1,$2)", params),
                         &r, e))
        return err_note(e, "dir_stats_differ");
    const int rows = pg_rows(r);
    struct meta_drift *list = calloc((size_t)rows + 1, sizeof(*list));
    if (!list)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (int row = 0; row < rows; row++) {
        const struct meta_drift drift = drift_of(r, row);
        if (drift.dir)
            list[(*found)++] = drift;
        else
            *at = (uint64_t)pg_get_int8(r, row, pg_column(r, "next"));
    }
    *out = list;
    return RC_OK;
}

enum rc meta_dir_stats_mend(struct meta *meta, const struct meta_drift *drift, bool *is_mended,
                            struct err *e)
{
    struct pg_param params[] = {
        pg_int8((int64_t)drift->dir),    pg_int8(drift->has.length),
        pg_int8(drift->has.space),       pg_int8(drift->has.entries),
        pg_int8(drift->counted.length),  pg_int8(drift->counted.space),
        pg_int8(drift->counted.entries),
    };
    return ask_bool(meta,
                    CALL_LONG("SELECT * FROM tarn_1.dir_stats_mend($1,$2,$3,$4,$5,$6,$7)", params),
                    "dir_stats_mend", "is_mended", is_mended, e);
}

/* ---- compaction ---- */

void meta_records_deinit(struct meta_records *records)
{
    buf_deinit(&records->records);
    buf_deinit(&records->sums);
}

enum rc meta_chunk_records(struct meta *meta, ino_num ino, uint32_t indx, int32_t most,
                           struct meta_records *out, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int4((int32_t)indx), pg_int4(most)};
    buf_init(&out->records, RECORDS_BYTES_MAX);
    buf_init(&out->sums, RECORDS_BYTES_MAX);
    out->total = 0;
    out->begun = 0;
    if (retry_at_primary(meta, CALL_LONG("SELECT * FROM tarn_1.chunk_records($1,$2,$3)", params),
                         &r, e))
        return err_note(e, "chunk_records");
    if (pg_rows(r) == 0)
        return RC_OK;
    const struct bytes records = pg_get_bytes(r, 0, pg_column(r, "records"));
    const struct bytes sums = pg_get_bytes(r, 0, pg_column(r, "sums"));
    out->total = (uint32_t)pg_get_int4(r, 0, pg_column(r, "total"));
    out->begun = pg_get_int8(r, 0, pg_column(r, "begun"));
    if (buf_add(&out->records, records.data, records.size, e))
        return e->code;
    return buf_add(&out->sums, sums.data, sums.size, e);
}

enum rc meta_compact(struct meta *meta, const struct meta_compaction *what, bool *is_done,
                     struct err *e)
{
    auto_free uint8_t *sums = malloc((size_t)what->sums_count * 4 + 1);
    if (!sums)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (uint32_t i = 0; i < what->sums_count; i++)
        wire_put_u32(sums + (size_t)i * 4, what->sums[i]);
    struct pg_param params[] = {
        pg_int8((int64_t)what->ino),  pg_int4((int32_t)what->indx),
        pg_bytea(what->origin),       pg_int4((int32_t)what->skipped),
        pg_int4((int32_t)what->pos),  pg_int8((int64_t)what->id),
        pg_int4((int32_t)what->size), pg_bytea((struct bytes){sums, (size_t)what->sums_count * 4}),
        pg_int8(what->begun),
    };
    return ask_bool(meta,
                    CALL_LONG("SELECT * FROM tarn_1.compact($1,$2,$3,$4,$5,$6,$7,$8,$9)", params),
                    "compact", "is_done", is_done, e);
}

enum rc meta_slice_wasted(struct meta *meta, uint64_t id, uint32_t size, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)id), pg_int4((int32_t)size)};
    return ask(meta, CALL_LONG("SELECT tarn_1.slice_wasted($1,$2)", params), "slice_wasted",
               &answer, e);
}

enum rc meta_crowded_chunks(struct meta *meta, uint64_t *at, int32_t count, int32_t least,
                            struct meta_chunk **out, size_t *found, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    struct pg_param params[] = {pg_int8((int64_t)*at), pg_int4(count), pg_int4(least)};
    *out = NULL;
    *found = 0;
    *at = 0;
    if (retry_at_primary(meta, CALL_LONG("SELECT * FROM tarn_1.crowded_chunks($1,$2,$3)", params),
                         &r, e))
        return err_note(e, "crowded_chunks");
    const size_t rows = (size_t)pg_rows(r);
    struct meta_chunk *list = calloc(rows ? rows : 1, sizeof(*list));
    if (!list)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    const int id = pg_column(r, "id"), ino = pg_column(r, "ino"), indx = pg_column(r, "indx");
    for (size_t i = 0; i < rows; i++) {
        const struct meta_chunk chunk = {(ino_num)pg_get_int8(r, (int)i, ino),
                                         (uint32_t)pg_get_int4(r, (int)i, indx)};
        if (chunk.ino)
            list[(*found)++] = chunk;
        else
            *at = (uint64_t)pg_get_int8(r, (int)i, id);
    }
    *out = list;
    return RC_OK;
}
