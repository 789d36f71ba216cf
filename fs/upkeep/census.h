/*
 * census - how often slices are named, by a walk over every chunk row and over the trash of slices.
 *
 * The ids of interest are given in ascending order, any number that fits in memory; whoever has
 * more walks several times. The walk sees a moving volume: what it finds is a reason to look again
 * (ledger_count_refs), not yet a finding.
 *
 * Threads   one at a time
 * Blocking  reads all of jfs_chunk and jfs_delslices, page by page
 */
#ifndef FS_UPKEEP_CENSUS_H
#define FS_UPKEEP_CENSUS_H

#include "fs/meta/ledger.h"

struct census {
    const int64_t *ids; /* ascending, each once */
    uint32_t *named;    /* one for each id; begins as zeros */
    size_t count;
    /* Called for ids that are named and not among ids, within [first, last]; NULL: nobody asks. */
    enum rc (*stranger)(uint64_t id, void *arg, struct err *e);
    void *arg;
    uint64_t first, last;
};

/* Where id stands among ascending ids, or would stand: the first that is not lower; count at most.
 */
size_t census_place(const int64_t *ids, size_t count, uint64_t id);

MUST_CHECK enum rc census_walk(const struct census *c, struct meta *meta, struct err *e);

#endif
