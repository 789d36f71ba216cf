/*
 * guard - a store that says nothing before its bucket has shown that it is the volume's.
 *
 * At a mirror the origin may be missing when the volume is opened and appear later; until then its
 * juicefs_uuid cannot be read. The guard reads it before the first verb that gets through: a bucket
 * of another volume has blocks of the same names with other bytes.
 *
 * Threads   any
 */
#ifndef FS_VOLUME_GUARD_H
#define FS_VOLUME_GUARD_H

#include "fs/store/store.h"

/*
 * Compare the object juicefs_uuid of a bucket. A bucket without one passes, with a log line.
 *
 * RC_INVALID  the bucket belongs to another volume
 */
MUST_CHECK enum rc guard_check(struct store *bucket, const char *uuid, struct err *e);

/*
 * The same for whoever is about to remove objects: a bucket without juicefs_uuid passes only if it
 * has blocks. RC_UNAVAILABLE: it shows nothing at all, or cannot be asked.
 */
MUST_CHECK enum rc guard_vouch(struct store *bucket, const char *uuid, struct err *e);

/* Write the volume's identity into a bucket that has none. RC_INVALID as guard_check(). */
MUST_CHECK enum rc guard_claim(struct store *bucket, const char *uuid, struct err *e);

/* Wrap *below, as the constructors of fs/store/layers.h do. */
MUST_CHECK enum rc guard_open(struct store **out, struct store **below, const char *uuid,
                              struct err *e);

#endif
