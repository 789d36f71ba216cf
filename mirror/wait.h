/*
 * wait - one wait under way: for a marker of the primary to be seen at this mirror, and for the
 * blocks behind it. Everything it has learned survives a lost connection.
 *
 * Private to mirror/wait*.c.
 *
 *   step      what is done                                              next when
 *   MAKE      a marker is made at the primary                           it has answered
 *   ARRIVE    the marker is looked for here                             it is seen
 *   FIND      the slices of the path are listed                         once
 *   DATA      what is awaited is counted                                nothing is left
 *   OVER
 */
#ifndef MIRROR_WAIT_H
#define MIRROR_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/progress.h"
#include "fs/meta/pg.h"

#define WAIT_NAME_MAX 96

struct wait_options {
    bool until_now, data, json;
    const char *marker, *path;
    const char *primary, *primary_password;
    int64_t timeout_ms;
};

enum wait_step { WAIT_MAKE, WAIT_ARRIVE, WAIT_FIND, WAIT_DATA, WAIT_OVER };

/* What is not here yet, as of the last look. */
struct wait_left {
    uint64_t slices, bytes;
    int64_t failing;
    bool is_history_here; /* of a wait for everything */
    char last_error[128];
};

struct wait {
    const struct wait_options *o;
    const char *url;
    uint64_t begun_ms, deadline_ms;
    struct pg *own, *primary;
    enum wait_step step;
    char site[64];

    char marker[WAIT_NAME_MAX];
    int64_t value, epoch; /* what has to be seen; epoch: it was made in, -1: any */
    char until[64];       /* orders that belong to it */

    int64_t *slices; /* of the path that are awaited */
    size_t slice_count;
    struct wait_left left;
    uint64_t bytes_first; /* when the first look was done */
    uint64_t look_ms;     /* pause before the next look */
    uint64_t facts_due_ms;
    struct progress *bar;
};

/* FIND: RC_REFUSED when the path is not there. */
MUST_CHECK enum rc wait_find(struct wait *w, struct err *e);
/* DATA: one look; *is_here when nothing is awaited. */
MUST_CHECK enum rc wait_look(struct wait *w, bool *is_here, struct err *e);

#endif
