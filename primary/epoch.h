/*
 * epoch - the object tarn/epoch of a bucket: who hands out this volume's numbers, and how far.
 *
 * Slice ids name immutable objects, so the same id given out twice is a silent wrong byte. That is
 * what happens when a database is restored from a backup, or a copy of it is started elsewhere, and
 * goes on counting. The bucket remembers what the database may have forgotten.
 *
 * Threads   any
 * Blocking  read, write and raise wait for the store (and PostgreSQL)
 */
#ifndef PRIMARY_EPOCH_H
#define PRIMARY_EPOCH_H

#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"
#include "fs/meta/pg.h"
#include "fs/store/store.h"

struct epoch_mark {
    int64_t epoch;
    char system_identifier[32]; /* of the PostgreSQL cluster */
    int64_t timeline;
    int64_t next_chunk;
};

MUST_CHECK enum rc epoch_encode(const struct epoch_mark *mark, struct buf *out, struct err *e);
/* RC_CORRUPT: not what epoch_encode() writes. */
MUST_CHECK enum rc epoch_decode(struct bytes text, struct epoch_mark *out, struct err *e);

/*
 * May a database in this state go on handing out numbers for a bucket that says that?
 * RC_INVALID says why not.
 */
MUST_CHECK enum rc epoch_check(const struct epoch_mark *bucket, const struct epoch_mark *database,
                               struct err *e);

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
