/*
 * round - what each job of a volume does once it is its turn.
 *
 * Work is done in bounded batches until there is none left, the round's time is over, or the
 * program ends; what is left then is found again by the next round. One thing that fails does not
 * keep the others from being done: it is logged, and the round answers the first failure at its
 * end. When PostgreSQL cannot be reached, a round ends at once.
 *
 * Private to fs/upkeep.
 *
 * Threads   a round belongs to one thread
 * Blocking  on PostgreSQL and the object store
 * Source    volume format §3, §4, §7.8 to §7.10, §9, §16
 */
#ifndef FS_UPKEEP_ROUND_H
#define FS_UPKEEP_ROUND_H

#include <stdatomic.h>

#include "fs/base/pool.h"
#include "fs/volume/volume.h"

struct round {
    /* set by whoever begins it */
    struct volume *volume;
    struct pool *deletes;
    const atomic_bool *is_closing;
    uint64_t until_ms;

    uint64_t items; /* what was done, in the unit of the job */
    struct err first;
};

/* End sessions whose time is over, and let go of what they held. */
void round_sessions(struct round *round);
/* The data of files that were removed an hour ago or more, and which nobody has deleted since. */
void round_files(struct round *round);
/* The same for files that were removed just now; dooms their slices. */
void round_removed_files(struct round *round);
/* Remove the objects of doomed slices as far as they may be. */
void round_doomed(struct round *round);
/* Find slices without references that nobody has doomed, and delete them. */
void round_slices(struct round *round);
/* The trash, slices kept as long as the trash, and trees that were never attached. */
void round_trash(struct round *round);
void round_change_log(struct round *round);
/* Sums of slices that stock clients have deleted. */
void round_sums(struct round *round);
/* Statistics of directories that have been wrong for so long that nobody will put them right. */
void round_dir_stats(struct round *round);
/* Chunks with very many records, which nobody has read or written enough to compact. */
void round_crowded(struct round *round);

#endif
