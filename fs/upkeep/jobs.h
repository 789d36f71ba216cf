/*
 * jobs - the upkeep of a volume by one of its clients: stale sessions, removed files, slices that
 * nobody refers to, the trash, the change log, compaction.
 *
 * Every read-write client offers to do the jobs; a gate in the database, which stock clients share,
 * lets one of them do each job once an hour (sessions: at each heartbeat). Apart from that each
 * client cleans up after itself soon: what it removed, and chunks that it made or found crowded.
 *
 * Mirrors and read-only mounts have none of this.
 *
 * Threads   any, between open and close; two threads and two small pools of its own
 * Blocking  upkeep_open() and upkeep_close() as said there; upkeep_crowded() when told to wait; the
 *           rest never
 */
#ifndef FS_UPKEEP_JOBS_H
#define FS_UPKEEP_JOBS_H

#include "fs/volume/volume.h"

struct upkeep;

struct upkeep_options {
    struct volume *volume; /* opened for writing; must outlive the upkeep */
    bool has_jobs;        /* take part in the jobs; else only clean up after oneself (--no-bgjob) */
    bool is_agent;        /* the primary's agent: looks often, and does what mounts leave to it */
    unsigned max_deletes; /* slices deleted at the same time; 0: 10 */
};

/* Begin. The volume's session, if it has one, need not have begun yet. */
MUST_CHECK enum rc upkeep_open(struct upkeep **out, const struct upkeep_options *options,
                               struct err *e);
/* Stop: waits for what is under way, each a bounded piece. NULL is ignored. */
void upkeep_close(struct upkeep **upkeep);

/*
 * This client has just removed a file for good: its data is to go soon. is_certain false: it has
 * replaced a name, which means the same only where there is no trash. NULL is ignored.
 */
void upkeep_removed(struct upkeep *upkeep, bool is_certain);

/*
 * A chunk has so many records that it should be compacted: soon, unless ten others are on their
 * way, or (waits) before this returns, whoever does it. NULL is ignored.
 */
void upkeep_crowded(struct upkeep *upkeep, ino_num ino, uint32_t indx, bool waits);

#endif
