/*
 * quota - limits of directories, users and groups, for the command.
 *
 * Threads   any
 * Blocking  waits for PostgreSQL
 * Units     bytes, inodes; a limit of 0 or less is none
 * Source    volume format §10
 */
#ifndef FS_META_QUOTA_H
#define FS_META_QUOTA_H

#include "fs/meta/meta.h"

enum quota_type { QUOTA_DIR, QUOTA_USER, QUOTA_GROUP, QUOTA_ANY };

struct quota {
    enum quota_type type;
    uint64_t key; /* inode, uid or gid */
    int64_t max_space, max_inodes;
    int64_t used_space, used_inodes;
    int64_t real_space, real_inodes; /* of meta_quota_counts(): what a count gives */
};

#define QUOTA_UNCHANGED INT64_MIN

/*
 * Set limits; QUOTA_UNCHANGED leaves one as it is. A new quota begins with what a count gives.
 * RC_REFUSED: ENOENT, ENOTDIR, EPERM (in the trash), EROFS (a mirror).
 */
MUST_CHECK enum rc meta_quota_set(struct meta *meta, enum quota_type type, uint64_t key,
                                  int64_t max_space, int64_t max_inodes, struct err *e);
/* Take the limits away; that there are none is no failure. */
MUST_CHECK enum rc meta_quota_delete(struct meta *meta, enum quota_type type, uint64_t key,
                                     struct err *e);

typedef enum rc (*quota_visit)(const struct quota *quota, void *arg, struct err *e);

/* Visit the row of one key, or (QUOTA_ANY) every row, by type and key. */
MUST_CHECK enum rc meta_quotas(struct meta *meta, enum quota_type type, uint64_t key,
                               quota_visit visit, void *arg, struct err *e);
/* The same with a count beside it: of one directory, or of every user and group. */
MUST_CHECK enum rc meta_quota_counts(struct meta *meta, enum quota_type type, uint64_t key,
                                     quota_visit visit, void *arg, struct err *e);
/* Make the usage what a count gives, for as many as meta_quota_counts() visits. */
MUST_CHECK enum rc meta_quota_repair(struct meta *meta, enum quota_type type, uint64_t key,
                                     struct err *e);

#endif
