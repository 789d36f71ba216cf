/*
 * delete - the objects of slices that nothing refers to any more.
 *
 * The metadata decides what may go and when: a slice whose references have ended is written into
 * tarn.doomed, and is handed out for deletion once every mirror has passed that moment
 * (schema/api/70_upkeep.sql). Here its objects are removed, and only then its rows. Whatever fails
 * leaves the rows as they are, for another round; removing an object twice is harmless.
 *
 * Threads   any; two rounds at once share the work
 * Blocking  on PostgreSQL and the object store
 * Source    volume format §7.7, §7.10; design §6
 */
#ifndef FS_UPKEEP_DELETE_H
#define FS_UPKEEP_DELETE_H

#include "fs/volume/volume.h"

/* Remove every object of a slice of size bytes. RC_OK: none of them is there any more. */
MUST_CHECK enum rc delete_slice_objects(struct volume *volume, uint64_t slice, uint32_t size,
                                        uint64_t deadline_ms, struct err *e);

#endif
