/*
 * epoch_mark - what the object tarn/epoch of a bucket says: who hands out this volume's numbers,
 * and how far. Codec, verdict, and the reading of it.
 *
 * Slice ids name immutable objects, so the same id given out twice is a silent wrong byte. That is
 * what happens when a database is restored from a backup, or a copy of it is started elsewhere, and
 * goes on counting. The bucket remembers what the database may have forgotten.
 * The whole contract of numbers is at the top of schema/api/54_promote.sql.
 *
 * Threads any · Blocking epoch_ask() waits for PostgreSQL, epoch_read() and epoch_write() for the
 *         store; the rest never
 */
#ifndef FS_VOLUME_EPOCH_MARK_H
#define FS_VOLUME_EPOCH_MARK_H

#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"
#include "fs/meta/pg.h"
#include "fs/store/store.h"

#define EPOCH_KEY "tarn/epoch"

struct epoch_mark {
    int64_t epoch;
    char system_identifier[32]; /* of the PostgreSQL cluster */
    int64_t timeline;
    int64_t next_chunk;
};

/* The epoch of the highest number that the mark knows of: a volume may count above its epoch. */
static inline int64_t epoch_reached(const struct epoch_mark *mark)
{
    const int64_t counted = mark->next_chunk >> 40;
    return mark->epoch > counted ? mark->epoch : counted;
}

MUST_CHECK enum rc epoch_encode(const struct epoch_mark *mark, struct buf *out, struct err *e);
/* RC_CORRUPT: not what epoch_encode() writes. */
MUST_CHECK enum rc epoch_decode(struct bytes text, struct epoch_mark *out, struct err *e);

/* Read it from the bucket. RC_NOT_FOUND: no agent has written it yet. */
MUST_CHECK enum rc epoch_read(struct store *store, struct epoch_mark *out, struct err *e);

MUST_CHECK enum rc epoch_write(struct store *store, const struct epoch_mark *mark, struct err *e);

/* What a primary's database says. RC_NOT_FOUND: not adopted; RC_INVALID: it is no primary. */
MUST_CHECK enum rc epoch_ask(struct pg *pg, struct epoch_mark *out, struct err *e);

/*
 * May a database in this state go on handing out numbers for a bucket that says that?
 * RC_INVALID says why not.
 */
MUST_CHECK enum rc epoch_check(const struct epoch_mark *bucket, const struct epoch_mark *database,
                               struct err *e);

#endif
