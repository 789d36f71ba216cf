/*
 * told - what the kernel was told of inodes, for as long as it believes us: the length of files,
 * and which access control lists there are.
 *
 * Close-to-open asks that an open sees what another mount had written before it closed. The kernel
 * trusts the length it was told for the attribute timeout, also across an open, and reads and
 * O_APPEND writes go by that length. So an open whose file turns out to have another length than
 * the kernel knows is answered with ESTALE: the kernel then looks the path up anew, takes in the
 * attributes, and opens again, all inside the one open(2) of the caller.
 *
 * Where access control lists are on, the kernel asks for them at every permission check whose
 * attributes it has just renewed. Their numbers came with those attributes, so most of these
 * questions ("there is none") are answered from here.
 *
 * The same holds for names: one that was removed elsewhere is in the kernel's cache for a second,
 * and must not open what has gone to the trash. Programs tell by such a name whether a journal
 * exists.
 *
 * A bounded table. What was pushed out of it counts as different, which costs one look-up.
 *
 * Threads any · Blocking never
 */
#ifndef FS_MOUNT_TOLD_H
#define FS_MOUNT_TOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"
#include "fs/meta/facl.h"

struct told;

/* The kernel believes each answer for valid_ms. Without ACLs only files are kept. */
MUST_CHECK enum rc told_open(struct told **out, uint64_t valid_ms, bool has_acls, struct err *e);
void told_close(struct told **told);

/* The kernel is being told these attributes. */
void told_attr(struct told *told, const struct node_attr *attr);
/* The same, with the name by which it was found. */
void told_name(struct told *told, const struct node_attr *attr);
/* The kernel has written up to `end`, and knows that the file is at least that long. */
void told_written(struct told *told, ino_num ino, uint64_t end);
/* The number of a list of ino (0: it has none). False: that is not known any more. */
bool told_acl(struct told *told, ino_num ino, enum acl_type type, uint32_t *id);
/* Does the kernel go by another length than this one, or by a name that is no more? */
bool told_differs(struct told *told, const struct node_attr *attr);

#endif
