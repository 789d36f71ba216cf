/*
 * flight - blocks in memory: being fetched, in use, or idle for a few seconds.
 *
 * One fetch per block however many ask: the first to join a block leads and must land it, the
 * others follow and wait. What has landed stays while it is used and a little longer, then its
 * memory goes back to the budget.
 *
 *   state     who may touch data     how it ends
 *   flying    its leader, writing    flight_land()
 *   landed    any member, reading    the last flight_leave(), then 5 idle seconds
 *   failed    nobody                 the last flight_leave(); it is out of the table already
 *
 * Threads   any, between open and close
 * Blocking  flight_wait alone
 */
#ifndef FS_CACHE_FLIGHT_H
#define FS_CACHE_FLIGHT_H

#include "fs/cache/memory.h"
#include "fs/store/key.h"

struct flights;

struct flight {
    struct block_id block;
    uint8_t *data; /* block.size bytes */
    /* the rest is the table's */
    enum { FLIGHT_FLYING, FLIGHT_LANDED, FLIGHT_FAILED } state;
    enum rc outcome; /* of a failed one */
    unsigned members;
    bool is_spent; /* somebody has read its end: a sequential reader will not come back */
    uint64_t used_ms;
};

enum flight_role { FLIGHT_LEADS, FLIGHT_FOLLOWS, FLIGHT_READY };

MUST_CHECK enum rc flights_open(struct flights **out, struct memory *memory, struct err *e);
/* No member may be left. */
void flights_close(struct flights **flights);

/*
 * Become a member of the flight of a block. is_optional: only within the memory budget and only
 * as its leader; RC_NO_SPACE or RC_EXISTS otherwise.
 */
MUST_CHECK enum rc flight_join(struct flights *flights, struct block_id block, bool is_optional,
                               struct flight **out, enum flight_role *role, struct err *e);
/* Become a member only if there is a flight of the block. NULL: there is none. */
struct flight *flight_peek(struct flights *flights, struct block_id block, enum flight_role *role);

/* The leader's duty, once: data is filled (RC_OK), or why not. */
void flight_land(struct flights *flights, struct flight *flight, enum rc outcome);
/* Wait for a flight to land. RC_TIMEOUT, or what its leader met. */
MUST_CHECK enum rc flight_wait(struct flights *flights, struct flight *flight, uint64_t deadline_ms,
                               struct err *e);
/* Leave. Sets *flight to NULL; NULL is ignored. */
void flight_leave(struct flights *flights, struct flight **flight);

/* Free what nobody has used for a few seconds; called each second. */
void flights_expire(struct flights *flights);
/* Somebody else needs the memory: free what is spent, or has been idle for idle_ms. */
void flights_trim(struct flights *flights, uint64_t idle_ms);
/* A member has read the end of the block. */
void flight_spend(struct flights *flights, struct flight *flight);

#endif
