/*
 * statfs - how full the volume is, and a directory of it where quotas say so.
 *
 * Threads any · Blocking waits for PostgreSQL, but for meta_statfs_known()
 * Units   bytes; spaces are multiples of 4096
 */
#ifndef FS_META_STATFS_H
#define FS_META_STATFS_H

#include "fs/meta/meta.h"

struct meta_statfs {
    uint64_t total_space, used_space, total_inodes, used_inodes; /* 0 total: unlimited */
};
MUST_CHECK enum rc meta_statfs(struct meta *meta, struct meta_statfs *out, struct err *e);

/* The same from what the last heartbeat brought; false before the first one. */
bool meta_statfs_known(struct meta *meta, struct meta_statfs *out);

#define META_NO_LIMIT UINT64_MAX

/* What quotas leave to an inode. Without any: META_NO_LIMIT and has_quota false. */
struct meta_quota_room {
    bool has_quota;
    uint64_t used_space, used_inodes; /* below the nearest directory with a quota */
    uint64_t space, inodes;           /* the least that is left, of all of them */
};
MUST_CHECK enum rc meta_statfs_at(struct meta *meta, ino_num ino, struct meta_statfs *out,
                                  struct meta_quota_room *room, struct err *e);

#endif
