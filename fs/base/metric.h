/*
 * metric - counters, gauges and histograms, in Prometheus text form.
 *
 * Each is registered, with unit and help, in the file that counts it, by a static object and
 * METRIC_* below; exposition walks the registry.
 *
 * Threads   counting is lock-free from any thread; registration takes a leaf lock
 */
#ifndef FS_BASE_METRIC_H
#define FS_BASE_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS 23 /* powers of two from 16 µs to 33 s, and +Inf */

struct metric {
    const char *name;   /* "tarn_block_cache_hits_total" */
    const char *labels; /* `op="create"` or NULL */
    const char *help;
    enum metric_type type;
    _Atomic int64_t value; /* counter, gauge; histogram: sum in µs */
    _Atomic uint64_t buckets[METRIC_BUCKETS];
    struct metric *next;
};

/* Show m from now on; it must stay where it is until metric_unregister(). */
void metric_register(struct metric *m);
/* For a metric whose owner can be closed. One that is not registered is ignored. */
void metric_unregister(struct metric *m);

/* Define a static metric named variable and register it before main(). */
#define METRIC_DEFINE(variable, kind, metric_name, metric_labels, help_text)                       \
    static struct metric variable = {                                                              \
        .name = (metric_name), .labels = (metric_labels), .help = (help_text), .type = (kind)};    \
    __attribute__((constructor)) static void variable##_register(void)                             \
    {                                                                                              \
        metric_register(&variable);                                                                \
    }

static inline void metric_add(struct metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

static inline void metric_set(struct metric *m, int64_t n)
{
    atomic_store_explicit(&m->value, n, memory_order_relaxed);
}

/* Count one duration in a METRIC_HISTOGRAM. */
void metric_observe_us(struct metric *m, uint64_t us);

/* Append the whole registry in Prometheus text format 0.0.4. */
MUST_CHECK enum rc metric_write(struct buf *out, struct err *e);

#endif
