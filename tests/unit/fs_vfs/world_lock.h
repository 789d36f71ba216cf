/*
 * world_lock - the locks of the world in world.h: what fs/meta/lock.h is asked for, at link time in
 * its place.
 */
#ifndef TESTS_UNIT_FS_VFS_WORLD_LOCK_H
#define TESTS_UNIT_FS_VFS_WORLD_LOCK_H

#include <stdatomic.h>

#include "fs/meta/lock.h"

struct world_lock_switches {
    _Atomic int outcome;      /* enum rc of every change */
    atomic_bool loses_answer; /* of the next lock that is granted: RC_UNAVAILABLE */
    _Atomic unsigned sets, looks;
};
extern struct world_lock_switches world_lock;

void world_lock_clear(void);

/* What a session does, this mount's or another's. False: somebody holds a lock against it. */
bool world_lock_set(uint64_t sid, const struct meta_lock *what);

#endif
