/*
 * recent - what this mount changed lately, so that older answers about it are known.
 *
 * A page of a directory is read from the database some time before the kernel takes its last entry.
 * What this mount did to that entry meanwhile the kernel has been told, and it would unlearn it
 * from the older page: a name that was removed would be there again, a file that was written would
 * be as short as before.
 *
 * Each change leaves the reading of a counter in a table, at the hash of the inode or the name; who
 * asked before that reading knows less. Two that share a place are both taken for changed, which
 * costs a question and is never wrong. Inodes are numbered as in the volume.
 *
 * Threads any · Blocking never
 */
#ifndef FS_VFS_RECENT_H
#define FS_VFS_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"
#include "fs/meta/types.h"

struct recent;

MUST_CHECK enum rc recent_open(struct recent **out, struct err *e);
void recent_close(struct recent **recent);

/* To be taken before the database is asked. */
uint64_t recent_asking(const struct recent *recent);

/* A change has ended, or is pending, or what became of it is not known; the kernel is told after.
 */
void recent_inode(struct recent *recent, ino_num ino);
void recent_name(struct recent *recent, ino_num dir, struct bytes name);

/* Was the inode, or the name in dir, changed since? */
bool recent_has(const struct recent *recent, uint64_t asking, ino_num ino);
bool recent_has_name(const struct recent *recent, uint64_t asking, ino_num dir, struct bytes name);

#endif
