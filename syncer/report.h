/*
 * report - the backlog in words, and as JSON.
 *
 * Threads any · Blocking report_failures waits for PostgreSQL
 */
#ifndef SYNCER_REPORT_H
#define SYNCER_REPORT_H

#include <stdio.h>

#include "fs/base/buf.h"
#include "syncer/queue.h"

MUST_CHECK enum rc report_backlog_json(const struct backlog *backlog, struct buf *out,
                                       struct err *e);
void report_backlog_text(const struct backlog *backlog, FILE *to);

/* One line for each order that failed: slice, what is wanted, tries, the error. */
void report_failures(struct queue *queue, FILE *to);

#endif
