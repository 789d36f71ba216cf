/*
 * run - the syncer at work: one coordinator that back-fills history and watches the queue, and N
 * workers that lease orders and carry them out.
 *
 * Any number of syncers may run on any number of machines: PostgreSQL's row locks and the fence of
 * each lease keep them apart.
 *
 * Threads   run_syncer() in the main thread, workers of its own, a loop for signals and HTTP
 * Blocking  until it is told to stop, or (once) until nothing is left
 */
#ifndef SYNCER_RUN_H
#define SYNCER_RUN_H

#include <stdbool.h>

#include "fs/base/err.h"

struct run_options {
    const char *url;
    const char *bucket, *origin; /* instead of the site row's; NULL: as it says */
    const char *metrics;         /* HOST:PORT of metrics and status; NULL: none */
    unsigned workers;
    bool is_once; /* end when history is done and the queue is empty */
};

/*
 * RC_OK      told to stop, or (once) everything is as wanted
 * RC_CORRUPT (once) some orders cannot be carried out; they are listed on stderr
 */
MUST_CHECK enum rc run_syncer(const struct run_options *options, struct err *e);

#endif
