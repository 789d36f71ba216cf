#include "fs/base/metric.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/lock.h"

#define FIRST_BUCKET_SHIFT 4 /* 16 µs */

/*
 * The registry is a list in the order of name, then labels: series of one name must stand
 * together. Constructors fill it before main(), in an order of the linker's choosing.
 */
static struct {
    struct lock lock;
    struct metric *first;
} registry = {.lock = {.mutex = PTHREAD_MUTEX_INITIALIZER, .rank = LOCK_BASE_METRIC}};

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter",
    [METRIC_GAUGE] = "gauge",
    [METRIC_HISTOGRAM] = "histogram",
};

static int compare(const struct metric *a, const struct metric *b)
{
    int order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->labels ? a->labels : "", b->labels ? b->labels : "");
}

void metric_register(struct metric *m)
{
    LOCK_SCOPE(&registry.lock);
    struct metric **at = &registry.first;
    while (*at && compare(*at, m) <= 0)
        at = &(*at)->next;
    m->next = *at;
    *at = m;
}

void metric_unregister(struct metric *m)
{
    LOCK_SCOPE(&registry.lock);
    for (struct metric **at = &registry.first; *at; at = &(*at)->next) {
        if (*at == m) {
            *at = m->next;
            return;
        }
    }
}

/* The first bucket whose bound is not below us; the last one has no bound. */
static unsigned bucket_of(uint64_t us)
{
    unsigned bucket = 0;
    while (bucket < METRIC_BUCKETS - 1 && us > UINT64_C(1) << (FIRST_BUCKET_SHIFT + bucket))
        bucket++;
    return bucket;
}

void metric_observe_us(struct metric *m, uint64_t us)
{
    metric_add(m, (int64_t)us);
    atomic_fetch_add_explicit(&m->buckets[bucket_of(us)], 1, memory_order_relaxed);
}

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

/* One "name_suffix{labels,extra} value" up to the value. */
static enum rc write_series(const struct metric *m, const char *suffix, const char *extra,
                            struct buf *out, struct err *e)
{
    const char *labels = m->labels ? m->labels : "";
    bool is_braced = *labels || *extra;
    return buf_addf(out, e, "%s%s%s%s%s%s%s ", m->name, suffix, is_braced ? "{" : "", labels,
                    *labels && *extra ? "," : "", extra, is_braced ? "}" : "");
}

static enum rc write_bucket(const struct metric *m, unsigned bucket, uint64_t count,
                            struct buf *out, struct err *e)
{
    char bound[32] = "le=\"+Inf\"";
    if (bucket < METRIC_BUCKETS - 1)
        (void)snprintf(bound, sizeof(bound), "le=\"%.6f\"",
                       seconds(UINT64_C(1) << (FIRST_BUCKET_SHIFT + bucket)));
    if (write_series(m, "_bucket", bound, out, e))
        return e->code;
    return buf_addf(out, e, "%" PRIu64 "\n", count);
}

static enum rc write_histogram(struct metric *m, struct buf *out, struct err *e)
{
    uint64_t count = 0;
    int64_t sum_us = atomic_load_explicit(&m->value, memory_order_relaxed);
    for (unsigned i = 0; i < METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (write_bucket(m, i, count, out, e))
            return e->code;
    }
    if (write_series(m, "_sum", "", out, e) ||
        buf_addf(out, e, "%.6f\n", seconds((uint64_t)sum_us)) ||
        write_series(m, "_count", "", out, e))
        return e->code;
    return buf_addf(out, e, "%" PRIu64 "\n", count);
}

static enum rc write_metric(struct metric *m, struct buf *out, struct err *e)
{
    if (m->type == METRIC_HISTOGRAM)
        return write_histogram(m, out, e);
    if (write_series(m, "", "", out, e))
        return e->code;
    return buf_addf(out, e, "%" PRId64 "\n", atomic_load_explicit(&m->value, memory_order_relaxed));
}

enum rc metric_write(struct buf *out, struct err *e)
{
    LOCK_SCOPE(&registry.lock);
    const char *heading = "";
    for (struct metric *m = registry.first; m; m = m->next) {
        if (strcmp(heading, m->name) != 0 &&
            buf_addf(out, e, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                     type_names[m->type]))
            return e->code;
        heading = m->name;
        if (write_metric(m, out, e))
            return e->code;
    }
    return RC_OK;
}
