/*
 * reseed_impl - one reseed under way, and its parts.
 *
 * Private to mirror/reseed*.c.
 */
#ifndef MIRROR_RESEED_IMPL_H
#define MIRROR_RESEED_IMPL_H

#include "mirror/follow.h"
#include "mirror/home.h"
#include "mirror/reseed.h"

#define RESEED_URL_MAX 8192

struct reseed {
    /* set at open */
    const char *url, *password;

    /* of the work */
    struct pg *copy, *primary; /* primary: the server that is followed */
    struct home home;
    struct copy_plan *plan;
    bool has_marker;
    int64_t marker;
    uint64_t due_ms, pause_ms;
};

/* Text is borrowed from row. */
struct reseed_row {
    struct pg_result *row;
    bool is_wanted, keeps_old, is_switched, is_there, is_ours, old_is_there;
    const char *database, *old_database, *reason, *step, *problem;
    int64_t bytes_done, bytes_total;
    int tables_done, tables_total;
};

MUST_CHECK enum rc reseed_read(struct pg *own, struct reseed_row *out, struct err *e);
void reseed_row_deinit(struct reseed_row *row);
#define auto_reseed_row __attribute__((cleanup(reseed_row_deinit)))

/* Connect to a database of the mirror's server. */
MUST_CHECK enum rc reseed_connect(const struct reseed *r, const char *database, struct pg **out,
                                  struct err *e);

/* Note where it stands; step NULL: as it was. */
MUST_CHECK enum rc reseed_note(struct pg *own, const char *step, const char *problem,
                               struct err *e);

/* Drop a database of a mirror, with its subscription; its slot is left alone. */
MUST_CHECK enum rc reseed_drop(const struct reseed *r, struct pg *own, const char *database,
                               struct err *e);

/* Bring the new copy a step on; *is_consistent: a marker that was made after all was copied is in.
 */
MUST_CHECK enum rc reseed_copy(struct reseed *r, struct pg *own, const struct facts *f,
                               const struct reseed_row *row, bool *is_consistent, struct err *e);

/* Carry over what is this site's own, and exchange the names. Closes both connections first. */
MUST_CHECK enum rc reseed_switch(struct reseed *r, struct pg **own, const struct facts *f,
                                 struct err *e);

#endif
