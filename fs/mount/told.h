/*
 * told - the length of each file as the kernel knows it, for as long as it believes us.
 *
 * Close-to-open asks that an open sees what another mount had written before it closed. The kernel
 * trusts the length it was told for the attribute timeout, also across an open, and reads and
 * O_APPEND writes go by that length. So an open whose file turns out to have another length than
 * the kernel knows is answered with ESTALE: the kernel then looks the path up anew, takes in the
 * attributes, and opens again, all inside the one open(2) of the caller.
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
#include "fs/meta/types.h"

struct told;

/* The kernel believes each answer for valid_ms. */
MUST_CHECK enum rc told_open(struct told **out, uint64_t valid_ms, struct err *e);
void told_close(struct told **told);

/* The kernel is being told these attributes. */
void told_attr(struct told *told, const struct node_attr *attr);
/* The kernel has written up to `end`, and knows that the file is at least that long. */
void told_written(struct told *told, ino_num ino, uint64_t end);
/* Does the kernel go by another length than this one? */
bool told_differs(struct told *told, const struct node_attr *attr);

#endif
