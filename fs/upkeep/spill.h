/*
 * spill - blocks put aside on disk until it is certain what becomes of them.
 *
 * A garbage collection may find millions of candidates, and may touch none before the last object
 * of the bucket was listed. They wait in a nameless temporary file, 24 bytes each.
 *
 * Threads   one at a time
 * Blocking  as a local disk does
 */
#ifndef FS_UPKEEP_SPILL_H
#define FS_UPKEEP_SPILL_H

#include <stdio.h>

#include "fs/store/key.h"

struct spilled {
    struct block_id block;
    uint64_t stored_bytes;
};

struct spill {
    FILE *file; /* NULL: nothing was added yet */
    uint64_t count;
};

MUST_CHECK enum rc spill_add(struct spill *s, const struct spilled *item, struct err *e);
/* Read from the beginning again. */
MUST_CHECK enum rc spill_rewind(struct spill *s, struct err *e);
/* The next items, at most max; *count 0: no more. */
MUST_CHECK enum rc spill_read(struct spill *s, struct spilled *out, size_t max, size_t *count,
                              struct err *e);
void spill_deinit(struct spill *s);
#define auto_spill __attribute__((cleanup(spill_deinit)))

#endif
