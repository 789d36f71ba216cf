/*
 * op_timer - counts and times one kind of FUSE request for as long as a scope lasts.
 *
 * Threads any · Blocking never
 */
#ifndef FS_MOUNT_OP_TIMER_H
#define FS_MOUNT_OP_TIMER_H

#include "fs/base/clock.h"
#include "fs/base/metric.h"

struct op_timer {
    struct metric *metric;
    uint64_t begin_us;
};

static inline void op_timer_end(struct op_timer *t)
{
    metric_observe_us(t->metric, clock_us() - t->begin_us);
}

/* Once per file and operation: define its histogram. */
#define OP_METRIC(op)                                                                              \
    METRIC_DEFINE(op_##op, METRIC_HISTOGRAM, "tarn_fuse_op_duration_seconds", "op=\"" #op "\"",    \
                  "Time to serve a FUSE request, by operation")

/* At the top of a handler. */
#define OP_TIMER(op)                                                                               \
    __attribute__((cleanup(op_timer_end), unused)) struct op_timer op_timer_ = {&op_##op,          \
                                                                                clock_us()}

#endif
