/*
 * upkeep - the verbs of schema/api/70_upkeep.sql, 74 and 75: what the jobs of a volume find and do.
 *
 * Every verb may be repeated: it looks for work and does it. So none needs a session or a lane, and
 * each waits for a restarting server as all calls do. Work comes in batches of the caller's size,
 * one transaction each. A client whose site has become a mirror works at the primary: rows of a
 * mirror are not its own to change.
 *
 * Threads any · Blocking waits for PostgreSQL
 * Units   seconds where a name says _s, by the clock of the database
 */
#ifndef FS_META_UPKEEP_H
#define FS_META_UPKEEP_H

#include <stdlib.h>

#include "fs/base/buf.h"
#include "fs/meta/meta.h"

/* Numbers that a verb answers; items is the caller's to free(). */
struct number_list {
    uint64_t *items;
    size_t count;
};
static inline void number_list_deinit(struct number_list *list)
{
    free(list->items);
    *list = (struct number_list){0};
}
#define auto_numbers __attribute__((cleanup(number_list_deinit)))

/* ---- whose turn it is ---- */

/*
 * Begin a job if it is due: gate is the counter that all clients share, stock ones too, or NULL for
 * a job of ours alone. runner names this very beginning; the same one is answered alike.
 */
MUST_CHECK enum rc meta_job_begin(struct meta *meta, const char *job, const char *gate,
                                  int64_t every_s, const char *runner, bool *is_ours,
                                  struct err *e);
MUST_CHECK enum rc meta_job_end(struct meta *meta, const char *job, const char *runner, bool is_ok,
                                uint64_t items, const char *note, struct err *e);
/* Deletions wait for a silent mirror for so long. */
MUST_CHECK enum rc meta_keep_window_set(struct meta *meta, int64_t seconds, struct err *e);

struct meta_follower {
    const char *site; /* borrowed for the visit */
    bool is_awaited;  /* deletions still wait for it */
    int64_t silent_s;
};
typedef void (*meta_follower_visit)(const struct meta_follower *follower, void *arg);
/* Look at the mirrors that deletions wait for. */
MUST_CHECK enum rc meta_followers(struct meta *meta, meta_follower_visit visit, void *arg,
                                  struct err *e);

/* Append the last runs and what waits for deletion, as JSON. */
MUST_CHECK enum rc meta_upkeep_status(struct meta *meta, struct buf *out, struct err *e);

/* ---- sessions ---- */

MUST_CHECK enum rc meta_stale_sessions(struct meta *meta, int32_t limit, struct number_list *out,
                                       struct err *e);
/* End a session, if its time is still over. */
MUST_CHECK enum rc meta_session_reap(struct meta *meta, uint64_t sid, bool *is_reaped,
                                     struct err *e);
/* Remove what stock clients leave of our sessions. */
MUST_CHECK enum rc meta_orphan_lanes(struct meta *meta, uint64_t *lanes, struct err *e);

/* ---- files and slices ---- */

/* Removed files with data, in ascending order after the inode after. */
MUST_CHECK enum rc meta_dying_files(struct meta *meta, int64_t older_s, ino_num after,
                                    int32_t limit, struct number_list *out, struct err *e);
/*
 * Let go of the next chunks of a removed file. *chunks 0 without *is_done: somebody else is at it.
 * EEXIST: the inode is no removed file.
 */
MUST_CHECK enum rc meta_chunks_drop(struct meta *meta, ino_num ino, int32_t limit, uint32_t *chunks,
                                    bool *is_done, struct err *e);

/* Doom what has no references and is not doomed yet. */
MUST_CHECK enum rc meta_doomed_scan(struct meta *meta, int32_t limit, uint64_t *found,
                                    struct err *e);
struct meta_doomed {
    uint64_t slice;
    uint32_t size;
};
/* Slices whose objects may be removed now; they are the caller's for lease_s. *out: free() it. */
MUST_CHECK enum rc meta_doomed_take(struct meta *meta, int32_t limit, int32_t lease_s,
                                    struct meta_doomed **out, size_t *count, struct err *e);
/* The objects of these slices are gone. */
MUST_CHECK enum rc meta_doomed_done(struct meta *meta, const int64_t *slices, size_t count,
                                    uint64_t *removed, struct err *e);
/* Those could not be removed: they may be taken again in pause_s. */
MUST_CHECK enum rc meta_doomed_left(struct meta *meta, const int64_t *slices, size_t count,
                                    int32_t pause_s, struct err *e);
/* Remove sums without a slice among count sums after *at, which moves on; 0 at the end. */
MUST_CHECK enum rc meta_sums_sweep(struct meta *meta, uint64_t *at, int32_t count,
                                   uint64_t *removed, struct err *e);

/* ---- the trash and the change log ---- */

MUST_CHECK enum rc meta_delayed_expire(struct meta *meta, int32_t limit, uint64_t *expired,
                                       struct err *e);
/* Hours of the trash that are past their time. */
MUST_CHECK enum rc meta_trash_due(struct meta *meta, struct number_list *out, struct err *e);
MUST_CHECK enum rc meta_trash_purge(struct meta *meta, ino_num hour, int32_t limit,
                                    uint64_t *removed, bool *is_empty, struct err *e);
MUST_CHECK enum rc meta_trash_hour_drop(struct meta *meta, ino_num hour, struct err *e);
/* Trees that were never attached. */
MUST_CHECK enum rc meta_detached_due(struct meta *meta, int64_t older_s, int32_t limit,
                                     struct number_list *out, struct err *e);
MUST_CHECK enum rc meta_detached_purge(struct meta *meta, ino_num root, int32_t limit,
                                       uint64_t *removed, bool *is_empty, struct err *e);
MUST_CHECK enum rc meta_detached_drop(struct meta *meta, ino_num root, struct err *e);
MUST_CHECK enum rc meta_change_log_expire(struct meta *meta, int32_t limit, uint64_t *expired,
                                          struct err *e);

/* ---- statistics of directories ---- */

struct meta_dir_stats {
    int64_t length, space, entries;
};
/* A directory whose statistics are not what a count says. */
struct meta_drift {
    ino_num dir;
    struct meta_dir_stats has, counted;
};
/*
 * Those among count directories after *at, which moves on; 0 at the end. What clients have not
 * flushed yet is among them. *out is the caller's to free().
 */
MUST_CHECK enum rc meta_dir_stats_differ(struct meta *meta, uint64_t *at, int32_t count,
                                         struct meta_drift **out, size_t *found, struct err *e);
/* Mend one that has been like that for so long that no client can still hold the difference. */
MUST_CHECK enum rc meta_dir_stats_mend(struct meta *meta, const struct meta_drift *drift,
                                       bool *is_mended, struct err *e);

/* ---- compaction ---- */

/* The first records of a chunk and the sums of their slices, as they are stored. */
struct meta_records {
    struct buf records, sums;
    uint32_t total; /* records of the chunk, also beyond the first ones */
    int64_t begun;  /* when they were read, by the clock of the database */
};
void meta_records_deinit(struct meta_records *records);
#define auto_records __attribute__((cleanup(meta_records_deinit)))
/* total 0: the chunk has none. *out is the caller's to deinit, also after a failure. */
MUST_CHECK enum rc meta_chunk_records(struct meta *meta, ino_num ino, uint32_t indx, int32_t most,
                                      struct meta_records *out, struct err *e);

/* The one slice that takes the place of the records in origin after the first skipped ones. */
struct meta_compaction {
    ino_num ino;
    uint32_t indx;
    struct bytes origin;
    uint32_t skipped;
    uint32_t pos, size;
    uint64_t id;
    const uint32_t *sums;
    uint32_t sums_count;
    int64_t begun; /* of the records; after 45 minutes it is too late */
};
/* *is_done false: the chunk had changed or it is too late, and the new slice is doomed. */
MUST_CHECK enum rc meta_compact(struct meta *meta, const struct meta_compaction *what,
                                bool *is_done, struct err *e);
/* Doom a slice that was stored, in part perhaps, and will not be committed. */
MUST_CHECK enum rc meta_slice_wasted(struct meta *meta, uint64_t id, uint32_t size, struct err *e);

struct meta_chunk {
    ino_num ino;
    uint32_t indx;
};
/*
 * Chunks with least records or more, among count rows after *at, which moves on; 0 at the end.
 * *out is the caller's to free().
 */
MUST_CHECK enum rc meta_crowded_chunks(struct meta *meta, uint64_t *at, int32_t count,
                                       int32_t least, struct meta_chunk **out, size_t *found,
                                       struct err *e);

#endif
