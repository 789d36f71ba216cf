#include "fs/upkeep/crowd.h"

#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/pool.h"
#include "fs/upkeep/compact.h"

enum {
    COMPACTS = 10,
    CLAIMS_MAX = 2 * COMPACTS, /* chunks on their way, those waited for included */
};

struct claim {
    struct crowd *crowd; /* NULL: free */
    ino_num ino;
    uint32_t indx;
};

struct crowd {
    /* set at open */
    struct volume *volume;
    struct pool *pool;

    struct lock lock;
    struct lock_cond changed; /* a claim ended, or all of it does */
    bool is_ending;           /* shared */
    struct claim claims[CLAIMS_MAX];
};

static struct claim *find_locked(struct crowd *crowd, ino_num ino, uint32_t indx)
{
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        struct claim *c = &crowd->claims[i];
        if (c->crowd && c->ino == ino && c->indx == indx)
            return c;
    }
    return NULL;
}

static struct claim *free_locked(struct crowd *crowd)
{
    for (size_t i = 0; i < CLAIMS_MAX; i++)
        if (!crowd->claims[i].crowd)
            return &crowd->claims[i];
    return NULL;
}

/* NULL: somebody is at it, there are too many, or it is the end. */
static struct claim *claim(struct crowd *crowd, ino_num ino, uint32_t indx, bool waits)
{
    LOCK_SCOPE(&crowd->lock);
    while (waits && !crowd->is_ending && (find_locked(crowd, ino, indx) || !free_locked(crowd)))
        (void)lock_wait(&crowd->changed, &crowd->lock, CLOCK_FOREVER_MS);
    if (crowd->is_ending || find_locked(crowd, ino, indx))
        return NULL;
    struct claim *c = free_locked(crowd);
    if (c)
        *c = (struct claim){crowd, ino, indx};
    return c;
}

static void let_go(struct claim *c)
{
    struct crowd *crowd = c->crowd;
    LOCK_SCOPE(&crowd->lock);
    c->crowd = NULL;
    lock_broadcast(&crowd->changed);
}

static bool is_ending(struct crowd *crowd)
{
    LOCK_SCOPE(&crowd->lock);
    return crowd->is_ending;
}

static void compact_claimed(void *arg)
{
    struct claim *c = arg;
    struct err e = ERR_INIT;
    struct compact_result result = {.outcome = COMPACT_NOTHING};
    enum rc rc = RC_OK;
    if (!is_ending(c->crowd))
        rc = compact_chunk(c->crowd->volume, c->ino, c->indx, &result, &e);
    if (rc == RC_NOT_FOUND)
        log_err(LOG_LEVEL_DEBUG, &e, "somebody else was quicker");
    else if (rc)
        log_err(LOG_LEVEL_WARN, &e, "a chunk stays as it is");
    else if (result.outcome == COMPACT_DONE)
        log_debug("chunk %u of inode %llu: %u of %u records are one now, of %u bytes", c->indx,
                  (unsigned long long)c->ino, result.replaced, result.records, result.size);
    let_go(c);
}

void crowd_compact(struct crowd *crowd, ino_num ino, uint32_t indx, bool waits)
{
    struct claim *c = claim(crowd, ino, indx, waits);
    struct err busy = ERR_INIT;
    if (!c)
        return;
    if (waits)
        compact_claimed(c);
    else if (pool_submit(crowd->pool, compact_claimed, c, &busy))
        let_go(c);
}

enum rc crowd_open(struct crowd **out, struct volume *volume, struct err *e)
{
    const struct pool_options options = {
        .name = "compact", .max_threads = COMPACTS, .max_queued = COMPACTS};
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    if (!crowd)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    crowd->volume = volume;
    lock_init(&crowd->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&crowd->changed);
    *out = crowd;
    if (pool_open(&crowd->pool, &options, e)) {
        crowd_close(out);
        return e->code;
    }
    return RC_OK;
}

void crowd_end(struct crowd *crowd)
{
    if (!crowd)
        return;
    LOCK_SCOPE(&crowd->lock);
    crowd->is_ending = true;
    lock_broadcast(&crowd->changed);
}

void crowd_close(struct crowd **crowd)
{
    struct crowd *c = *crowd;
    *crowd = NULL;
    if (!c)
        return;
    pool_close(&c->pool);
    lock_cond_deinit(&c->changed);
    lock_deinit(&c->lock);
    free(c);
}
