#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "mirror/mirror.h"
#include "mirror/wait.h"

/* A look may list a million slices: the pause grows with what it costs. */
#define LOOK_MIN_MS 100
#define LOOK_MAX_MS 5000
#define LOOK_SHARE  10

static void take_left(struct wait *w, const struct pg_result *row)
{
    const char *error = pg_get_text(row, 0, pg_column(row, "last_error"));
    w->left.bytes = (uint64_t)pg_get_int8(row, 0, pg_column(row, "bytes"));
    w->left.failing = pg_get_int8(row, 0, pg_column(row, "failing"));
    (void)snprintf(w->left.last_error, sizeof(w->left.last_error), "%s", error ? error : "");
}

enum rc wait_find(struct wait *w, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param path =
        pg_bytea((struct bytes){(const uint8_t *)w->o->path, strlen(w->o->path)});
    free(w->slices);
    w->slices = NULL;
    if (pg_call(w->own, "SELECT * FROM tarn_1.wait_path($1)", &path, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look for \"%s\"", w->o->path);
    const int refusal = pg_get_int4(row, 0, pg_column(row, "err"));
    if (refusal)
        return err_refused(e, refusal, "path \"%s\"", w->o->path);
    return pg_get_int8_array(row, 0, pg_column(row, "slices"), &w->slices, &w->slice_count, e);
}

/* Of the path: what was awaited at the last look and still is. */
static enum rc look_at_path(struct wait *w, struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, 64 + w->slice_count * 16);
    struct pg_param slices;
    auto_result struct pg_result *row = NULL;
    if (pg_int8_array(&scratch, w->slices, w->slice_count, &slices, e) ||
        pg_call(w->own, "SELECT * FROM tarn_1.wait_left($1)", &slices, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look for the blocks of \"%s\"", w->o->path);
    free(w->slices);
    w->slices = NULL;
    if (pg_get_int8_array(row, 0, pg_column(row, "slices"), &w->slices, &w->slice_count, e))
        return e->code;
    take_left(w, row);
    w->left.slices = w->slice_count;
    w->left.is_history_here = true;
    return RC_OK;
}

static enum rc look_at_all(struct wait *w, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param until = pg_text(w->until);
    if (pg_call(w->own, "SELECT * FROM tarn_1.wait_all($1)", &until, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look for the blocks");
    take_left(w, row);
    w->left.slices = (uint64_t)pg_get_int8(row, 0, pg_column(row, "slices"));
    w->left.is_history_here = pg_get_bool(row, 0, pg_column(row, "is_history_here"));
    return RC_OK;
}

enum rc wait_look(struct wait *w, bool *is_here, struct err *e)
{
    const uint64_t asked_ms = clock_ms();
    if (w->o->path ? look_at_path(w, e) : look_at_all(w, e))
        return e->code;
    const uint64_t pause_ms = (clock_ms() - asked_ms) * LOOK_SHARE;
    w->look_ms = pause_ms < LOOK_MIN_MS   ? LOOK_MIN_MS
                 : pause_ms > LOOK_MAX_MS ? LOOK_MAX_MS
                                          : pause_ms;
    /* History that is ordered while we wait adds to what there is to do. */
    if (w->left.bytes > w->bytes_first)
        w->bytes_first = w->left.bytes;
    progress_set(w->bar, w->bytes_first - w->left.bytes, w->bytes_first);
    *is_here = w->left.slices == 0 && w->left.is_history_here;
    return RC_OK;
}
