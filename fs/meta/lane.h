/*
 * lane - an ordered stream of mutations of a session, and the number of the last one answered.
 *
 * The database keeps one row for each lane with the last operation and its answer, which makes it
 * harmless to send an operation twice (schema/api/00_lane.sql). This is the client's half:
 *
 *   state      op + 1            how it got there
 *   settled    free to use       the last operation has a definite answer, or none was sent
 *   uncertain  may be in use     an answer was lost and the deadline passed
 *
 * A settled lane may begin an operation. An uncertain one may only send the same operation again;
 * if nobody will, the lane's number is given up for a fresh one, because a new operation under a
 * used number would be answered with the old one's result.
 *
 * A mount has as many lanes as it ever had mutations on their way at once; they are taken in order,
 * so that their rows are few. A lane does not belong to a connection: after a loss its operation
 * goes on through another.
 *
 * Threads   a lane is used by one thread at a time; lane_take() and lane_give(): any
 * Blocking  lane_take() waits for a free lane until its deadline
 */
#ifndef FS_META_LANE_H
#define FS_META_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"

struct lane {
    uint64_t sid; /* the session it belongs to; 0: none yet */
    int32_t number;
    int64_t op; /* the last operation that was answered */
    bool is_uncertain;
};

/* The session that lanes belong to. Lanes are numbered from 1 within a session. */
struct lane_session {
    struct lock lock;
    uint64_t sid;  /* 0: none */
    int64_t epoch; /* of the volume when it began */
    int32_t last_number;
    bool is_lost;      /* fenced: mutations fail until another session begins */
    uint64_t followed; /* the one before, if nothing of it was lost with it; 0: none */
};

void lane_session_init(struct lane_session *session);
void lane_session_deinit(struct lane_session *session);
/* Another session has begun (0: ended). */
void lane_session_set(struct lane_session *session, uint64_t sid, int64_t epoch);
/* Another session takes the place of the present one, which the primary that began it took along.
 */
void lane_session_follow(struct lane_session *session, uint64_t sid, int64_t epoch);
/* Has session sid been followed by the present one? What it refused may be sent again, then. */
bool lane_session_follows(struct lane_session *session, uint64_t sid);
int64_t lane_session_epoch(struct lane_session *session);
uint64_t lane_session_id(struct lane_session *session);
/* The database says that session sid is over. */
void lane_session_lose(struct lane_session *session, uint64_t sid);
bool lane_session_is_lost(struct lane_session *session);

#define LANES 64

struct lane_pool {
    struct lock lock;
    struct lock_cond given_back;
    struct lane lanes[LANES];
    bool is_taken[LANES]; /* shared */
};

void lane_pool_init(struct lane_pool *pool);
void lane_pool_deinit(struct lane_pool *pool);
/* RC_UNAVAILABLE: none was free until deadline_ms. */
MUST_CHECK enum rc lane_take(struct lane_pool *pool, uint64_t deadline_ms, struct lane **out,
                             struct err *e);
void lane_give(struct lane_pool *pool, struct lane *lane);

/*
 * Make a lane ready for its next operation, with a fresh number if it is uncertain or of another
 * session. RC_STALE: the session was lost; RC_DENIED: there never was one.
 */
MUST_CHECK enum rc lane_settle(struct lane *lane, struct lane_session *session, struct err *e);

#endif
