/*
 * delete - the data of removed files, and the objects of slices that nothing refers to any more.
 *
 * The metadata decides what may go and when: a slice whose references have ended is doomed in the
 * same transaction, and is handed out for deletion once every mirror has passed that moment
 * (schema/api/70_upkeep.sql). Here its objects are removed, and only then its rows. Whatever fails
 * leaves the rows as they are, for another round; removing an object twice is harmless.
 *
 * Threads   any; two rounds at once share the work
 * Blocking  on PostgreSQL and the object store
 * Source    volume format §7.7, §7.10; design §6
 */
#ifndef FS_UPKEEP_DELETE_H
#define FS_UPKEEP_DELETE_H

#include "fs/base/pool.h"
#include "fs/volume/volume.h"

/*
 * Let go of the data of a removed file, which dooms its slices. *is_done false: somebody else is
 * at it, and will do the rest.
 */
MUST_CHECK enum rc delete_file(struct volume *volume, ino_num ino, bool *is_done, struct err *e);

struct delete_tally {
    uint64_t slices, bytes; /* deleted */
    uint64_t failed;        /* slices whose objects could not be removed: another round does it */
};

/*
 * Take a batch of doomed slices whose time has come, remove their objects on pool, then their rows;
 * adds to *tally. *has_more: there may be others. Nothing is removed unless the bucket shows that
 * it is the volume's.
 *
 * RC_INVALID, RC_UNAVAILABLE  as volume_vouch(), or no object at all could be removed
 */
MUST_CHECK enum rc delete_doomed(struct volume *volume, struct pool *pool,
                                 struct delete_tally *tally, bool *has_more, struct err *e);

#endif
