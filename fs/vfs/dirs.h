/*
 * dirs - the attributes of directories, carried across the changes that this mount makes in them.
 *
 * The kernel drops what it knows of a directory whenever it has made, moved or removed a name
 * there, and asks again before it walks through. It may believe an answer for the attribute
 * timeout, so an answer that is younger needs no second exchange: what our own change did to it is
 * known from the reply of the change (format §12: times, unless they were younger than 100 ms, and
 * links).
 *
 * An answer is given once for each change, and only for what is left of its timeout: nothing is
 * believed for longer than if the kernel had not asked. Who asks without a change in between wants
 * to know, and gets no answer here. Not kept are answers that a change may have overtaken, and
 * directories in which something was done whose effect is not known.
 *
 * So stat(2) of a directory may leave out, for the rest of the timeout, what another client did in
 * it (a link less for its mkdir), also just after a change of our own. That is the promise of
 * close-to-open: names and contents are asked for, attributes are right as of at most a timeout
 * ago. To forget the answer when links changed would cost an exchange for every mkdir and rmdir,
 * and would not narrow the promise: without a change of ours the kernel does not ask at all.
 *
 * A bounded table, indexed by a hash of the directory. Inodes are numbered as in the volume.
 *
 * Threads any · Blocking never
 */
#ifndef FS_VFS_DIRS_H
#define FS_VFS_DIRS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "fs/base/err.h"
#include "fs/meta/types.h"

struct dirs;

/* Attributes may be believed for valid_ms; 0: never. */
MUST_CHECK enum rc dirs_open(struct dirs **out, uint64_t valid_ms, struct err *e);
void dirs_close(struct dirs **dirs);

/* To be taken before attributes are asked for, and given back with the answer. */
uint64_t dirs_asking(struct dirs *dirs);
/* Keep an answer. What is no directory is ignored. */
void dirs_learn(struct dirs *dirs, uint64_t asking, const struct node_attr *attr);

/* A change in or of a directory is about to be sent; it ends with exactly one of the next three. */
void dirs_begin(struct dirs *dirs, ino_num dir);
/* It was done, when the database's clock said `when`, and gave dir so many more sub-directories. */
void dirs_changed(struct dirs *dirs, ino_num dir, struct timespec when, int links);
/* It was refused, and nothing was done. */
void dirs_unchanged(struct dirs *dirs, ino_num dir);
/* What it did is not known. */
void dirs_forget(struct dirs *dirs, ino_num dir);

/* Forget all that is known. */
void dirs_clear(struct dirs *dirs);

/* The attributes to tell the kernel after a change, to be believed for *valid_ms. False: ask. */
bool dirs_owed(struct dirs *dirs, ino_num dir, struct node_attr *out, uint64_t *valid_ms);

#endif
