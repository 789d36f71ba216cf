/*
 * evidence - what shows that a mirror does not hold what its primary holds, though PostgreSQL
 * reports no error: another cluster, an older state of it, a slot that was made again, deletions
 * that did not wait. And the errors that it does report, in its own words.
 *
 * Threads   one
 * Blocking  on both PostgreSQL servers
 */
#ifndef MIRROR_EVIDENCE_H
#define MIRROR_EVIDENCE_H

#include "fs/meta/pg.h"
#include "mirror/facts.h"

#define EVIDENCE_TEXT_MAX 1024

struct evidence {
    bool is_heard;               /* the primary was asked and answered */
    char lost_by[16];            /* schema/api/53_heal.sql; "" when nothing speaks against us */
    char why[EVIDENCE_TEXT_MAX]; /* one sentence */
    int64_t epoch;               /* of the primary, as it says itself */
    int64_t trash_days;          /* of the volume; 0: no trash */
};

/*
 * Ask the primary and compare with what is remembered; f was read before. A primary of an older
 * version that does not know the question leaves is_heard false.
 */
MUST_CHECK enum rc evidence_look(struct pg *own, struct pg *primary, const struct facts *f,
                                 struct evidence *out, struct err *e);

/* The last error of apply, verbatim where the log can be read, else where to look. */
MUST_CHECK enum rc evidence_apply_error(struct pg *own, char out[EVIDENCE_TEXT_MAX], struct err *e);

#endif
