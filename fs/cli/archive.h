/*
 * archive - the file of a dump: plain, or gz when its name says so; "" is the standard stream.
 *
 * A file that is written appears under its name only when it is whole and on disk.
 *
 * Threads   main
 * Blocking  waits for disk
 */
#ifndef FS_CLI_ARCHIVE_H
#define FS_CLI_ARCHIVE_H

#include "fs/base/buf.h"
#include "fs/base/err.h"

struct archive;

/* Only its owner may read it: it holds what everybody's files are called, and maybe secrets. */
MUST_CHECK enum rc archive_create(struct archive **out, const char *path, struct err *e);
MUST_CHECK enum rc archive_write(struct archive *archive, struct bytes data, struct err *e);
/* Make what was written durable and give it its name. */
MUST_CHECK enum rc archive_finish(struct archive *archive, struct err *e);

/* gz is told from plain by its first bytes. */
MUST_CHECK enum rc archive_open(struct archive **out, const char *path, struct err *e);
/* *got is 0 at the end. RC_CORRUPT: not the gz that it begins as, or cut short. */
MUST_CHECK enum rc archive_read(struct archive *archive, uint8_t *into, size_t room, size_t *got,
                                struct err *e);

/* An unfinished file is removed. */
void archive_close(struct archive **archive);

#endif
