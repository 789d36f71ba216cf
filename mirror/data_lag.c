#include "mirror/data_lag.h"

#include <inttypes.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/metric.h"
#include "mirror/mirror.h"

METRIC_DEFINE(slices_gauge, METRIC_GAUGE, "tarn_mirror_data_lag_slices", NULL,
              "Slices that are ordered and whose blocks are not here yet")
METRIC_DEFINE(bytes_gauge, METRIC_GAUGE, "tarn_mirror_data_lag_bytes", NULL,
              "Bytes of those slices")
METRIC_DEFINE(seconds_gauge, METRIC_GAUGE, "tarn_mirror_data_lag_seconds", NULL,
              "How long the oldest of those slices has been waited for")
METRIC_DEFINE(history_gauge, METRIC_GAUGE, "tarn_mirror_data_history_here", NULL,
              "1 when everything older than the mirror has been ordered")
METRIC_DEFINE(rate_gauge, METRIC_GAUGE, "tarn_mirror_data_drain_bytes", NULL,
              "Bytes by which the data lag shrinks each second; negative while it grows")

static int64_t rest_of(const struct data_lag *lag)
{
    return lag->bytes + lag->history_bytes;
}

static void count(const struct data_lag *lag)
{
    metric_set(&slices_gauge, lag->slices);
    metric_set(&bytes_gauge, lag->bytes);
    metric_set(&seconds_gauge, lag->oldest_ms / 1000);
    metric_set(&history_gauge, lag->is_history_here);
    metric_set(&rate_gauge, (int64_t)lag->drain.per_s);
}

static int64_t number(const struct pg_result *row, const char *column)
{
    return pg_get_int8(row, 0, pg_column(row, column));
}

enum rc data_lag_read(struct pg *own, struct data_lag *lag, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.data_lag()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return err_note(e, "could not look at the lag of the data");
    lag->is_known = true;
    lag->slices = number(row, "slices");
    lag->bytes = number(row, "bytes");
    lag->oldest_ms = number(row, "oldest_ms");
    lag->history_slices = number(row, "history_slices");
    lag->history_bytes = number(row, "history_bytes");
    lag->position = number(row, "backfill_position");
    lag->goal = number(row, "backfill_goal");
    lag->is_more = pg_get_bool(row, 0, pg_column(row, "is_more"));
    lag->is_history_here = pg_get_bool(row, 0, pg_column(row, "is_history_here"));
    if (lag->is_more) /* what is left is not known, and so not how fast it becomes less */
        lag->drain = (struct drain){.has_look = false};
    else
        drain_look(&lag->drain, rest_of(lag), clock_ms());
    count(lag);
    return RC_OK;
}

bool data_lag_is_behind(const struct data_lag *lag)
{
    return lag->is_known && (lag->slices > 0 || !lag->is_history_here);
}

static enum rc add_history(struct json *data, const struct data_lag *lag, struct err *e)
{
    auto_json struct json *history = json_object_new();
    if (!history)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_bool(history, "ordered", lag->is_history_here, e) ||
        json_set_int(history, "position", lag->position, e) ||
        json_set_int(history, "goal", lag->goal, e) ||
        json_set_int(history, "slices", lag->history_slices, e) ||
        json_set_int(history, "bytes", lag->history_bytes, e) ||
        json_set_bool(history, "is_more", lag->is_more, e))
        return e->code;
    return json_set(data, "history", &history, e);
}

enum rc data_lag_show(const struct data_lag *lag, struct json *document, struct err *e)
{
    auto_json struct json *data = json_object_new();
    if (!data)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (!lag->is_known)
        return RC_OK;
    const double eta_s = drain_eta_s(&lag->drain);
    if (json_set_int(data, "slices", lag->slices, e) ||
        json_set_int(data, "bytes", lag->bytes, e) ||
        json_set_real(data, "oldest_seconds", (double)lag->oldest_ms / 1000, e) ||
        add_history(data, lag, e) ||
        (lag->drain.has_rate &&
         json_set_real(data, "drained_bytes_per_second", lag->drain.per_s, e)) ||
        (!lag->is_more && eta_s >= 0 && json_set_real(data, "eta_seconds", eta_s, e)))
        return e->code;
    return json_set(document, "data", &data, e);
}

void data_lag_print(const struct data_lag *lag)
{
    if (!lag->is_known)
        return;
    const double eta_s = drain_eta_s(&lag->drain);
    (void)printf("data     %" PRId64 " slices, %.1f MiB not here yet, the oldest for %.1f s",
                 lag->slices, (double)lag->bytes / (1 << 20), (double)lag->oldest_ms / 1000);
    if (!lag->is_history_here)
        (void)printf("; of history %s%" PRId64 " slices, %.1f MiB not ordered yet",
                     lag->is_more ? "more than " : "", lag->history_slices,
                     (double)lag->history_bytes / (1 << 20));
    if (data_lag_is_behind(lag) && !lag->is_more && eta_s >= 0)
        (void)printf("; %.1f MiB/s, here in %.0f s", lag->drain.per_s / (1 << 20), eta_s);
    (void)printf("\n");
}
