/*
 * settings - the format row of a volume, read and changed by commands.
 *
 * On a connection of its own rather than a struct meta: a row whose secrets were removed, or which
 * asks for other clients than we are, is one that somebody wants to correct.
 *
 * Threads   as struct pg
 * Blocking  every verb waits for PostgreSQL until deadline_ms
 */
#ifndef FS_META_SETTINGS_H
#define FS_META_SETTINGS_H

#include "fs/base/buf.h"
#include "fs/meta/pg.h"

#define SETTINGS_BYTES_MAX ((size_t)1 << 20)

/*
 * Connect. RC_NOT_FOUND: no volume; RC_STALE: one that is not adopted; RC_REFUSED (EROFS): that of
 * a mirror, for who is changing it.
 */
MUST_CHECK enum rc settings_connect(struct pg **out, const char *url, const char *application,
                                    bool is_changing, uint64_t deadline_ms, struct err *e);

/* Append the row's text. */
MUST_CHECK enum rc settings_read(struct pg *pg, struct buf *out, uint64_t deadline_ms,
                                 struct err *e);

/* Change the text by fs/meta/format_edit.h, or leave it. May be called again on a newer text. */
typedef enum rc (*settings_edit)(struct buf *row, void *arg, struct err *e);

/*
 * Read the row, have it changed, and put it in the place of what was read; again when somebody else
 * was quicker. What the row turns on is begun in the same transaction, and mounts of ours follow at
 * once. *is_changed tells whether there was anything to do.
 */
MUST_CHECK enum rc settings_change(struct pg *pg, settings_edit edit, void *arg,
                                   uint64_t deadline_ms, bool *is_changed, struct err *e);

#endif
