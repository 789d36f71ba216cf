/*
 * epoch - keeps the object tarn/epoch of the bucket and the database in step (see epoch_mark.h).
 *
 * Threads   any
 * Blocking  on the store and PostgreSQL
 */
#ifndef PRIMARY_EPOCH_H
#define PRIMARY_EPOCH_H

#include <stdint.h>

#include "fs/base/err.h"
#include "fs/meta/pg.h"
#include "fs/store/store.h"
#include "fs/volume/epoch_mark.h"

/* What the database says. RC_INVALID: it is no primary. */
MUST_CHECK enum rc epoch_of_database(struct pg *pg, struct epoch_mark *out, struct err *e);

/*
 * Compare with the bucket, then write what the database says. RC_INVALID as epoch_check().
 */
MUST_CHECK enum rc epoch_refresh(struct store *store, const struct epoch_mark *database,
                                 struct err *e);

/* Begin an epoch above that of the database and of its bucket (NULL: where the volume says). */
MUST_CHECK enum rc epoch_raise(const char *url, const char *bucket, int64_t *out, struct err *e);

#endif
