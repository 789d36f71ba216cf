/*
 * reply - the one place where an outcome becomes an errno and attributes become a struct stat.
 *
 * Threads any · Blocking never
 */
#ifndef FS_MOUNT_REPLY_H
#define FS_MOUNT_REPLY_H

#include <sys/stat.h>

#include "fs/base/err.h"
#include "fs/meta/types.h"

/*
 * The errno that FUSE is told for e (0 for RC_OK). A failure that is not a plain POSIX refusal is
 * logged here, once, with what was being done.
 */
int reply_errno(const struct err *e, const char *what, ino_num ino);

/* st_blocks counts 512-byte units of the accounting's 4 KiB; st_blksize suits large reads. */
void reply_stat(const struct node_attr *attr, struct stat *out);

/* S_IFREG … for a node type. */
mode_t reply_type_bits(enum node_type type);
/* The reverse, of a mode_t from the kernel; 0 for a type we do not store. */
enum node_type reply_node_type(mode_t mode);

#endif
