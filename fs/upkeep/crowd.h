/*
 * crowd - the crowded chunks that this client is compacting: a few at a time, each once at a time.
 *
 * Threads   any, between open and close; a small pool of its own
 * Blocking  crowd_compact() when told to wait, crowd_close(); the rest never
 */
#ifndef FS_UPKEEP_CROWD_H
#define FS_UPKEEP_CROWD_H

#include "fs/volume/volume.h"

struct crowd;

/* volume is opened for writing and outlives the crowd. */
MUST_CHECK enum rc crowd_open(struct crowd **out, struct volume *volume, struct err *e);
/* Begin nothing more, and let go whoever waits to begin. NULL is ignored. */
void crowd_end(struct crowd *crowd);
/* Wait for what is under way; after crowd_end(), when nobody calls any more. NULL is ignored. */
void crowd_close(struct crowd **crowd);

/*
 * Compact a chunk: soon, unless ten others are on their way, or (waits) before this returns,
 * whoever does it. What fails is logged; the chunk stays as it is.
 */
void crowd_compact(struct crowd *crowd, ino_num ino, uint32_t indx, bool waits);

#endif
