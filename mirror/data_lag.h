/*
 * data_lag - how much of the data is not at this site yet, how old the oldest of it is, and when it
 * will be here at this rate. Only for a mirror with a bucket of its own.
 *
 * Threads   one set, one thread
 * Blocking  data_lag_read() waits for PostgreSQL
 */
#ifndef MIRROR_DATA_LAG_H
#define MIRROR_DATA_LAG_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/json.h"
#include "fs/meta/pg.h"
#include "mirror/drain.h"

/* All zero before the first look. */
struct data_lag {
    bool is_known;
    int64_t slices, bytes, oldest_ms; /* ordered, and not here */
    /* Older than the mirror and not ordered yet; is_more: at least so much. */
    int64_t history_slices, history_bytes, position, goal;
    bool is_more, is_history_here;
    struct drain drain;
};

/* One look; counts the metrics. The rate is known from the second look on. */
MUST_CHECK enum rc data_lag_read(struct pg *own, struct data_lag *lag, struct err *e);

/* Is there anything to wait for? */
bool data_lag_is_behind(const struct data_lag *lag);

/* Set the member "data" of the status document; nothing when it is not known. */
MUST_CHECK enum rc data_lag_show(const struct data_lag *lag, struct json *document, struct err *e);

/* The same in a line for people. */
void data_lag_print(const struct data_lag *lag);

#endif
