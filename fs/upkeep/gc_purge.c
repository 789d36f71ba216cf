/*
 * What a collection does before it compares: the jobs of the volume, all at once and whoever's turn
 * it is, and the compaction of every chunk of more than one record.
 */
#include <inttypes.h>
#include <stdatomic.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/meta/upkeep.h"
#include "fs/upkeep/compact.h"
#include "fs/upkeep/gc_impl.h"
#include "fs/upkeep/round.h"

#define CHUNKS_AT_ONCE 10000

/* The rounds go on after a failure and remember the first. */
static void purge(struct gc *gc, struct round *r)
{
    void (*const rounds[])(struct round *) = {round_trash, round_removed_files, round_slices};
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        rounds[i](r);
        gc->report->purged += r->items;
        r->items = 0;
    }
}

enum rc gc_purge(struct gc *gc, struct err *e)
{
    const struct pool_options options = {.name = "gc",
                                         .max_threads = gc->options->threads,
                                         .max_queued = 2 * (size_t)gc->options->threads};
    const atomic_bool never = false;
    struct pool *pool = NULL;
    if (pool_open(&pool, &options, e))
        return e->code;
    struct round r = {.volume = gc->volume,
                      .deletes = pool,
                      .is_closing = &never,
                      .until_ms = CLOCK_FOREVER_MS,
                      .first = ERR_INIT};
    purge(gc, &r);
    pool_close(&pool);
    if (r.first.code) {
        *e = r.first;
        return err_note(e, "could not delete all that waits");
    }
    return RC_OK;
}

struct compaction {
    struct gc *gc;
    const struct meta_chunk *chunks;
    struct progress *progress;
    atomic_uint_fast64_t done, replaced;
};

/* One chunk that cannot be compacted does not keep the others from it. */
static enum rc compact_one(size_t i, void *arg, struct err *e)
{
    struct compaction *c = arg;
    struct err mine = ERR_INIT;
    struct compact_result result = {.outcome = COMPACT_NOTHING};
    enum rc rc =
        compact_whole_chunk(c->gc->volume, c->chunks[i].ino, c->chunks[i].indx, &result, &mine);
    progress_add(c->progress, 1);
    if (rc == RC_UNAVAILABLE) {
        *e = mine;
        return rc;
    }
    if (rc && rc != RC_NOT_FOUND)
        log_err(LOG_LEVEL_WARN, &mine, "chunk %" PRIu32 " of inode %" PRIu64 " stays as it is",
                c->chunks[i].indx, c->chunks[i].ino);
    atomic_fetch_add(&c->done, result.replaced > 0);
    atomic_fetch_add(&c->replaced, result.replaced);
    return RC_OK;
}

enum rc gc_compact(struct gc *gc, struct err *e)
{
    struct compaction c = {.gc = gc};
    c.progress = progress_open("compacting chunks", 0, false);
    enum rc rc = RC_OK;
    uint64_t at = 0;
    do {
        auto_free struct meta_chunk *chunks = NULL;
        size_t count = 0;
        rc = meta_crowded_chunks(gc->meta, &at, CHUNKS_AT_ONCE, 2, &chunks, &count, e);
        c.chunks = chunks;
        if (rc == RC_OK)
            rc = parallel_run(count, gc->options->threads, compact_one, &c, e);
    } while (rc == RC_OK && at);
    progress_close(&c.progress);
    gc->report->compacted_chunks = c.done;
    gc->report->replaced_records = c.replaced;
    return rc;
}
