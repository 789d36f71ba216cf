/*
 * memory - the one budget that cached blocks and write buffers share, and their allocator.
 *
 * The budget is soft: whoever must have memory to go on (a read that somebody waits for, the rest
 * of a write that has begun) takes it, whoever could do without (read-ahead) tries, and a writer
 * waits at the door while it is exceeded. A few whole blocks are kept for a moment when given
 * back, because faulting in fresh pages costs as much as filling them.
 *
 * Threads   any, between open and close
 * Blocking  memory_wait alone
 */
#ifndef FS_CACHE_MEMORY_H
#define FS_CACHE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/err.h"

struct memory;

/* whole_bytes: the size worth keeping for reuse (the volume's block). */
MUST_CHECK enum rc memory_open(struct memory **out, uint64_t limit_bytes, size_t whole_bytes,
                               struct err *e);
void memory_close(struct memory **memory);
void memory_set_limit(struct memory *memory, uint64_t limit_bytes);

/* bytes (not 0), charged even above the limit. NULL: the machine has no more. */
uint8_t *memory_take(struct memory *memory, size_t bytes);
/* The same, or NULL when the limit would be exceeded. */
uint8_t *memory_try(struct memory *memory, size_t bytes);
/* A buffer of new_bytes with the first `used` bytes of old, which is gone; NULL: old is as it was.
 */
uint8_t *memory_grow(struct memory *memory, uint8_t *old, size_t old_bytes, size_t used,
                     size_t new_bytes);
void memory_give(struct memory *memory, uint8_t *data, size_t bytes);

bool memory_is_over(struct memory *memory);
/* Wait until the budget is kept again; false when deadline_ms passed. */
bool memory_wait(struct memory *memory, uint64_t deadline_ms);
uint64_t memory_used(struct memory *memory);

/* Give back to the system what nobody took again for two seconds; called each second. */
void memory_expire(struct memory *memory);

#endif
