/*
 * gc - objects of the bucket that nothing in the metadata asks for, and what waits to be deleted.
 *
 * The bucket is listed once, in order; the slices of a batch of objects are looked up by key, so
 * that memory is bounded however large the volume is. An object is leaked when no row and no chunk
 * names its slice, or when it is no block of it by number and size.
 *
 * Before the comparison, and only with `deletes`, the jobs of the volume are done as its clients do
 * them (fs/upkeep/round.h): old trash, removed files, slices without references. Those deletions
 * wait for mirrors by themselves.
 *
 * Deleting what leaked. Nothing is removed unless the whole bucket was listed, it has shown that it
 * is this volume's, its epoch is the database's, and live blocks chosen at random were all in the
 * listing. An object that is younger than the hour in which its writer must commit stays; so does
 * every slice whose number was handed out after the start. Each candidate is looked up again right
 * before it goes, and where mirrors follow, only once all of them are past the moment when that was
 * so.
 *
 * Threads   one collection, one caller; deletions run on several threads inside
 * Blocking  minutes to hours
 * Source    volume format §14; design §6
 */
#ifndef FS_UPKEEP_GC_H
#define FS_UPKEEP_GC_H

#include "fs/meta/ledger.h"
#include "fs/volume/volume.h"

#define GC_SKIP_S 3600 /* within this time of its first object a slice is committed or given up */

/* An object that leaked, by the caller's thread. */
typedef enum rc (*gc_visit)(struct block_id block, uint64_t stored_bytes, void *arg, struct err *e);

struct gc_options {
    gc_visit leaked; /* is shown each, before any is deleted; NULL: they are only counted */
    void *arg;
    bool deletes;            /* leaked objects, and what waits to be deleted */
    bool compacts;           /* every chunk of several records; with neither nothing is written */
    unsigned threads;        /* for deletions and compactions */
    int64_t skip_s;          /* younger objects are left alone; GC_SKIP_S */
    uint64_t mirror_wait_ms; /* patience for mirrors that are behind */
};

struct gc_tally {
    uint64_t objects, bytes;
};

struct gc_report {
    struct gc_tally valid, pending, compacted, leaked, skipped, foreign;
    struct gc_tally deleted;       /* of the leaked */
    struct gc_tally kept;          /* of the leaked: no longer so when they were looked at again */
    struct ledger_waiting waiting; /* what is left of it */
    uint64_t purged;               /* entries, files and slices that had waited long enough */
    uint64_t compacted_chunks, replaced_records;
    int64_t skip_s; /* as it was applied */
};

/*
 * RC_INVALID      the bucket is another volume's, or is ahead of the database
 * RC_UNAVAILABLE  listing or metadata could not be read to their ends, or a mirror is behind; no
 *                 leaked object was removed
 * RC_CORRUPT      the listing left out objects that are there
 * The report is filled as far as the collection came.
 */
MUST_CHECK enum rc gc_run(struct volume *volume, const struct gc_options *options,
                          struct gc_report *report, struct err *e);

#endif
