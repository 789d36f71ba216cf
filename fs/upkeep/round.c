#include "fs/upkeep/round.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/meta/upkeep.h"
#include "fs/upkeep/compact.h"
#include "fs/upkeep/delete.h"

enum {
    SESSIONS_AT_ONCE = 1000,
    FILES_AT_ONCE = 1000,
    SLICES_AT_ONCE = 10000,
    ENTRIES_AT_ONCE = 200,
    GROUPS_AT_ONCE = 200, /* of delayed slices: up to 1000 references each */
    TREES_AT_ONCE = 100,
    LINES_AT_ONCE = 10000,
    SUMS_AT_ONCE = 20000,
    CHUNKS_AT_ONCE = 10000,
    DIRS_AT_ONCE = 1000,
    DRIFTS_MAX = 100000,
    SETTLED_MS = 90000, /* longer than a session lives unheard of */
    POLL_MS = 200,
    /* A writer compacts at each hundredth record; a reader at the fifth. */
    CROWDED_RECORDS = 100,
    LEFT_BEHIND_S = 3600,
    DETACHED_S = 86400,
};

/* May another batch begin? */
static bool goes_on(const struct round *r)
{
    return !atomic_load(r->is_closing) && clock_left(r->until_ms) > 0 &&
           r->first.code != RC_UNAVAILABLE;
}

/* Something failed: say so, remember the first, and go on. A lost server is told by the caller. */
static void note(struct round *r, const struct err *e, const char *what)
{
    if (e->code != RC_UNAVAILABLE)
        log_err(LOG_LEVEL_WARN, e, "%s", what);
    if (r->first.code == RC_OK || e->code == RC_UNAVAILABLE)
        r->first = *e;
}

static struct meta *meta_of(const struct round *r)
{
    return volume_meta(r->volume);
}

/* ---- sessions ---- */

static void reap(struct round *r, uint64_t sid)
{
    struct err e = ERR_INIT;
    bool is_reaped = false;
    if (meta_session_reap(meta_of(r), sid, &is_reaped, &e)) {
        note(r, &e, "could not end a stale session");
        return;
    }
    if (is_reaped)
        log_info("session %llu was silent for too long and is ended", (unsigned long long)sid);
    r->items += is_reaped;
}

void round_sessions(struct round *r)
{
    struct err e = ERR_INIT;
    auto_numbers struct number_list sids = {0};
    uint64_t lanes = 0;
    if (meta_stale_sessions(meta_of(r), SESSIONS_AT_ONCE, &sids, &e) ||
        meta_orphan_lanes(meta_of(r), &lanes, &e)) {
        note(r, &e, "could not look for stale sessions");
        return;
    }
    for (size_t i = 0; i < sids.count && goes_on(r); i++)
        reap(r, sids.items[i]);
    if (r->items)
        round_removed_files(r); /* what they had open and was unlinked */
}

/* ---- files and slices ---- */

static void drop_files(struct round *r, int64_t older_s)
{
    ino_num after = 0;
    for (bool has_more = true; has_more && goes_on(r);) {
        struct err e = ERR_INIT;
        auto_numbers struct number_list files = {0};
        if (meta_dying_files(meta_of(r), older_s, after, FILES_AT_ONCE, &files, &e)) {
            note(r, &e, "could not look for removed files");
            return;
        }
        for (size_t i = 0; i < files.count && goes_on(r); i++) {
            bool is_done = false;
            /* A damaged volume may list a file that lives: the hourly round speaks of it. */
            if (delete_file(r->volume, files.items[i], &is_done, &e) &&
                (older_s > 0 || e.code != RC_REFUSED))
                note(r, &e, "a removed file keeps its data for now");
            e = ERR_INIT;
            r->items += is_done;
        }
        has_more = files.count == FILES_AT_ONCE;
        after = files.count ? files.items[files.count - 1] : after;
    }
}

void round_doomed(struct round *r)
{
    struct delete_tally tally = {0};
    for (bool has_more = true; has_more && goes_on(r);) {
        struct err e = ERR_INIT;
        if (delete_doomed(r->volume, r->deletes, &tally, &has_more, &e)) {
            note(r, &e, "could not delete slices now");
            break;
        }
    }
    if (tally.slices)
        log_info("%llu slices of %llu bytes are deleted", (unsigned long long)tally.slices,
                 (unsigned long long)tally.bytes);
}

void round_removed_files(struct round *r)
{
    drop_files(r, 0);
    round_doomed(r);
}

void round_files(struct round *r)
{
    drop_files(r, LEFT_BEHIND_S);
    round_doomed(r);
}

void round_slices(struct round *r)
{
    for (uint64_t found = 1; found && goes_on(r);) {
        struct err e = ERR_INIT;
        if (meta_doomed_scan(meta_of(r), SLICES_AT_ONCE, &found, &e)) {
            note(r, &e, "could not look for slices without references");
            return;
        }
        r->items += found;
    }
    round_doomed(r);
}

void round_sums(struct round *r)
{
    uint64_t at = 0;
    do {
        struct err e = ERR_INIT;
        uint64_t removed;
        if (meta_sums_sweep(meta_of(r), &at, SUMS_AT_ONCE, &removed, &e)) {
            note(r, &e, "could not remove the sums of deleted slices");
            return;
        }
        r->items += removed;
    } while (at && goes_on(r));
}

/* ---- the trash ---- */

typedef enum rc (*purge_verb)(struct meta *meta, ino_num root, int32_t limit, uint64_t *removed,
                              bool *is_empty, struct err *e);

/* Empty a tree. *is_empty false: the round is over before the tree is, or something stays. */
static enum rc empty_tree(struct round *r, purge_verb purge, ino_num root, bool *is_empty,
                          struct err *e)
{
    uint64_t removed = 1;
    *is_empty = false;
    while (removed && !*is_empty && goes_on(r)) {
        if (purge(meta_of(r), root, ENTRIES_AT_ONCE, &removed, is_empty, e))
            return e->code;
        r->items += removed;
    }
    return RC_OK;
}

static void purge_trash(struct round *r)
{
    struct err e = ERR_INIT;
    auto_numbers struct number_list hours = {0};
    if (meta_trash_due(meta_of(r), &hours, &e))
        note(r, &e, "could not look at the trash");
    for (size_t i = 0; i < hours.count && goes_on(r); i++) {
        bool is_empty;
        if (empty_tree(r, meta_trash_purge, hours.items[i], &is_empty, &e) ||
            (is_empty && meta_trash_hour_drop(meta_of(r), hours.items[i], &e)))
            note(r, &e, "could not empty an hour of the trash");
    }
}

static void remove_detached(struct round *r)
{
    struct err e = ERR_INIT;
    auto_numbers struct number_list trees = {0};
    if (meta_detached_due(meta_of(r), DETACHED_S, TREES_AT_ONCE, &trees, &e))
        note(r, &e, "could not look for detached trees");
    for (size_t i = 0; i < trees.count && goes_on(r); i++) {
        bool is_empty;
        if (empty_tree(r, meta_detached_purge, trees.items[i], &is_empty, &e) ||
            (is_empty && meta_detached_drop(meta_of(r), trees.items[i], &e)))
            note(r, &e, "could not remove a detached tree");
    }
}

static void expire_delayed(struct round *r)
{
    for (uint64_t expired = 1; expired && goes_on(r);) {
        struct err e = ERR_INIT;
        if (meta_delayed_expire(meta_of(r), GROUPS_AT_ONCE, &expired, &e)) {
            note(r, &e, "could not let go of slices that were replaced");
            return;
        }
        r->items += expired;
    }
}

void round_trash(struct round *r)
{
    purge_trash(r);
    remove_detached(r);
    expire_delayed(r);
    if (r->items)
        round_removed_files(r);
}

void round_change_log(struct round *r)
{
    for (uint64_t expired = 1; expired && goes_on(r);) {
        struct err e = ERR_INIT;
        if (meta_change_log_expire(meta_of(r), LINES_AT_ONCE, &expired, &e)) {
            note(r, &e, "could not shorten the change log");
            return;
        }
        r->items += expired;
    }
}

/* ---- statistics of directories ---- */

/* Drifts that were seen, to be looked at again. */
struct drifts {
    struct meta_drift *items;
    size_t count;
};

static void drifts_deinit(struct drifts *d)
{
    free(d->items);
}

/* Take over a page of them, up to DRIFTS_MAX in all: the next round finds the others. */
static void drifts_add(struct drifts *d, const struct meta_drift *items, size_t count)
{
    const size_t room = DRIFTS_MAX - d->count, n = count < room ? count : room;
    struct meta_drift *more = n ? realloc(d->items, (d->count + n) * sizeof(*more)) : NULL;
    if (!more)
        return;
    memcpy(more + d->count, items, n * sizeof(*more));
    d->items = more;
    d->count += n;
}

static enum rc find_drifts(struct round *r, struct drifts *d, struct err *e)
{
    uint64_t at = 0;
    do {
        auto_free struct meta_drift *page = NULL;
        size_t count;
        if (meta_dir_stats_differ(meta_of(r), &at, DIRS_AT_ONCE, &page, &count, e))
            return e->code;
        drifts_add(d, page, count);
    } while (at && d->count < DRIFTS_MAX && goes_on(r));
    return RC_OK;
}

/*
 * Clients hold back what they have changed for a second, or until the end of their session when
 * they cannot get through. What differs for longer, by the same numbers, is lost.
 */
static void wait_for_clients(const struct round *r)
{
    const uint64_t until = clock_deadline(SETTLED_MS);
    while (clock_left(until) > 0 && goes_on(r))
        clock_sleep_until(clock_deadline(POLL_MS));
}

void round_dir_stats(struct round *r)
{
    struct err e = ERR_INIT;
    __attribute__((cleanup(drifts_deinit))) struct drifts drifts = {0};
    if (find_drifts(r, &drifts, &e)) {
        note(r, &e, "could not compare the statistics of directories");
        return;
    }
    if (drifts.count)
        wait_for_clients(r);
    for (size_t i = 0; i < drifts.count && goes_on(r); i++) {
        bool is_mended = false;
        if (meta_dir_stats_mend(meta_of(r), &drifts.items[i], &is_mended, &e))
            note(r, &e, "could not mend the statistics of a directory");
        if (is_mended)
            log_warn("the statistics of directory %llu were wrong and are mended",
                     (unsigned long long)drifts.items[i].dir);
        r->items += is_mended;
    }
}

/* ---- compaction ---- */

static void compact_listed(struct round *r, const struct meta_chunk *chunks, size_t count)
{
    for (size_t i = 0; i < count && goes_on(r); i++) {
        struct err e = ERR_INIT;
        struct compact_result result;
        if (compact_whole_chunk(r->volume, chunks[i].ino, chunks[i].indx, &result, &e) &&
            e.code != RC_NOT_FOUND)
            note(r, &e, "a crowded chunk stays as it is");
        r->items += result.outcome == COMPACT_DONE;
    }
}

void round_crowded(struct round *r)
{
    uint64_t at = 0;
    do {
        struct err e = ERR_INIT;
        auto_free struct meta_chunk *chunks = NULL;
        size_t count;
        if (meta_crowded_chunks(meta_of(r), &at, CHUNKS_AT_ONCE, CROWDED_RECORDS, &chunks, &count,
                                &e)) {
            note(r, &e, "could not look for crowded chunks");
            return;
        }
        compact_listed(r, chunks, count);
    } while (at && goes_on(r));
}
