#include "fs/base/metric.h"

#include "tests/unit/check.h"

METRIC_DEFINE(creates, METRIC_COUNTER, "tarn_test_ops_total", "op=\"create\"", "Operations.")
METRIC_DEFINE(other, METRIC_GAUGE, "tarn_test_other", NULL, "Something else.")
METRIC_DEFINE(unlinks, METRIC_COUNTER, "tarn_test_ops_total", "op=\"unlink\"", "Operations.")
METRIC_DEFINE(times, METRIC_HISTOGRAM, "tarn_test_seconds", "op=\"x\"", "How long it took.")

static char *exposition(struct buf *out)
{
    struct err e;
    const char *text = NULL;
    buf_init(out, 1 << 20);
    CHECK_OK(metric_write(out, &e), &e);
    CHECK_OK(buf_cstr(out, &text, &e), &e);
    return (char *)out->data;
}

TEST("series of one name stand together under one heading")
{
    auto_buf struct buf out;
    metric_add(&creates, 3);
    metric_add(&unlinks, 4);
    metric_set(&other, -5);
    const char *text = exposition(&out);
    CHECK_CONTAINS(text, "# HELP tarn_test_ops_total Operations.\n"
                         "# TYPE tarn_test_ops_total counter\n"
                         "tarn_test_ops_total{op=\"create\"} 3\n"
                         "tarn_test_ops_total{op=\"unlink\"} 4\n"
                         "# HELP tarn_test_other Something else.\n"
                         "# TYPE tarn_test_other gauge\n"
                         "tarn_test_other -5\n");
}

TEST("a histogram counts up to each bound, in seconds")
{
    auto_buf struct buf out;
    metric_observe_us(&times, 0);
    metric_observe_us(&times, 16);
    metric_observe_us(&times, 17);
    metric_observe_us(&times, 33554432);
    metric_observe_us(&times, 33554433);
    metric_observe_us(&times, 3600000000);
    const char *text = exposition(&out);
    CHECK_CONTAINS(text, "# TYPE tarn_test_seconds histogram\n"
                         "tarn_test_seconds_bucket{op=\"x\",le=\"0.000016\"} 2\n"
                         "tarn_test_seconds_bucket{op=\"x\",le=\"0.000032\"} 3\n");
    CHECK_CONTAINS(text, "tarn_test_seconds_bucket{op=\"x\",le=\"16.777216\"} 3\n"
                         "tarn_test_seconds_bucket{op=\"x\",le=\"33.554432\"} 4\n"
                         "tarn_test_seconds_bucket{op=\"x\",le=\"+Inf\"} 6\n"
                         "tarn_test_seconds_sum{op=\"x\"} 3667.108898\n"
                         "tarn_test_seconds_count{op=\"x\"} 6\n");
}

TEST("a metric that was taken away is not shown, and may be taken away again")
{
    static struct metric passing = {
        .name = "tarn_test_passing", .help = "Gone soon.", .type = METRIC_GAUGE};
    auto_buf struct buf with;
    auto_buf struct buf without;
    metric_register(&passing);
    CHECK_CONTAINS(exposition(&with), "\ntarn_test_passing 0\n");
    metric_unregister(&passing);
    metric_unregister(&passing);
    CHECK(!strstr(exposition(&without), "tarn_test_passing"));
}

TEST("an exposition that does not fit is an error, not a piece")
{
    struct err e;
    auto_buf struct buf out;
    buf_init(&out, 100);
    CHECK_RC(metric_write(&out, &e), RC_NO_SPACE);
}
