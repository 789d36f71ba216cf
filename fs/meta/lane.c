#include "fs/meta/lane.h"

void lane_session_init(struct lane_session *session)
{
    *session = (struct lane_session){.sid = 0};
    lock_init(&session->lock, LOCK_META_POOL);
}

void lane_session_deinit(struct lane_session *session)
{
    lock_deinit(&session->lock);
}

static void begin_locked(struct lane_session *session, uint64_t sid, int64_t epoch)
{
    session->sid = sid;
    session->epoch = epoch;
    session->last_number = 0;
    session->is_lost = false;
}

void lane_session_set(struct lane_session *session, uint64_t sid, int64_t epoch)
{
    LOCK_SCOPE(&session->lock);
    begin_locked(session, sid, epoch);
    session->followed = 0;
}

void lane_session_follow(struct lane_session *session, uint64_t sid, int64_t epoch)
{
    LOCK_SCOPE(&session->lock);
    session->followed = session->sid;
    begin_locked(session, sid, epoch);
}

bool lane_session_follows(struct lane_session *session, uint64_t sid)
{
    LOCK_SCOPE(&session->lock);
    return sid != 0 && session->followed == sid;
}

int64_t lane_session_epoch(struct lane_session *session)
{
    LOCK_SCOPE(&session->lock);
    return session->epoch;
}

uint64_t lane_session_id(struct lane_session *session)
{
    LOCK_SCOPE(&session->lock);
    return session->sid;
}

void lane_session_lose(struct lane_session *session, uint64_t sid)
{
    LOCK_SCOPE(&session->lock);
    if (session->sid == sid)
        session->is_lost = true;
}

bool lane_session_is_lost(struct lane_session *session)
{
    LOCK_SCOPE(&session->lock);
    return session->is_lost;
}

enum rc lane_settle(struct lane *lane, struct lane_session *session, struct err *e)
{
    LOCK_SCOPE(&session->lock);
    if (session->sid == 0)
        return err_fail(e, RC_DENIED, "no session was begun");
    if (session->is_lost)
        return err_fail(e, RC_STALE, "session %llu was ended by another client",
                        (unsigned long long)session->sid);
    if (lane->sid != session->sid || lane->is_uncertain)
        *lane = (struct lane){.sid = session->sid, .number = ++session->last_number};
    return RC_OK;
}

/* ---- the lanes of a mount ---- */

void lane_pool_init(struct lane_pool *pool)
{
    *pool = (struct lane_pool){.lanes = {{.sid = 0}}};
    lock_init(&pool->lock, LOCK_META_POOL);
    lock_cond_init(&pool->given_back);
}

void lane_pool_deinit(struct lane_pool *pool)
{
    lock_cond_deinit(&pool->given_back);
    lock_deinit(&pool->lock);
}

static unsigned first_free_locked(const struct lane_pool *pool)
{
    unsigned i = 0;
    while (i < LANES && pool->is_taken[i])
        i++;
    return i;
}

enum rc lane_take(struct lane_pool *pool, uint64_t deadline_ms, struct lane **out, struct err *e)
{
    LOCK_SCOPE(&pool->lock);
    unsigned i;
    while ((i = first_free_locked(pool)) == LANES)
        if (!lock_wait(&pool->given_back, &pool->lock, deadline_ms))
            return err_fail(e, RC_UNAVAILABLE, "%d changes are on their way already", LANES);
    pool->is_taken[i] = true;
    *out = &pool->lanes[i];
    return RC_OK;
}

void lane_give(struct lane_pool *pool, struct lane *lane)
{
    LOCK_SCOPE(&pool->lock);
    pool->is_taken[lane - pool->lanes] = false;
    lock_signal(&pool->given_back);
}
