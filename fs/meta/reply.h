/*
 * reply - the one decoder from an answer's row to attributes, and what every mutation does with
 * its answer.
 *
 * Private to fs/meta.
 */
#ifndef FS_META_REPLY_H
#define FS_META_REPLY_H

#include "fs/meta/meta.h"
#include "fs/meta/pg.h"
#include "fs/meta/retry.h"

/* Where the columns of tarn.reply stand in a result; -1: it has none. */
struct reply_columns {
    int err, ino, type, flags, mode, uid, gid;
    int atime, mtime, ctime, atimensec, mtimensec, ctimensec;
    int nlink, length, rdev, parent, access_acl, default_acl, tier;
};

void reply_columns(const struct pg_result *answer, struct reply_columns *out);

/* RC_CORRUPT when a value is outside what the format allows. */
MUST_CHECK enum rc reply_attr(const struct pg_result *answer, int row,
                              const struct reply_columns *columns, struct node_attr *out,
                              struct err *e);

/* RC_OK, or the refusal that the first row's err holds. RC_CORRUPT without a row. */
MUST_CHECK enum rc reply_check(const struct pg_result *answer, const char *verb, ino_num ino,
                               struct err *e);

/* A read that answers one inode's attributes. out may be NULL. */
MUST_CHECK enum rc reply_read(struct meta *meta, const struct call *call, const char *verb,
                              ino_num ino, struct node_attr *out, struct err *e);

/* Make a mutation, take in its usage, answer its refusal or attributes. out may be NULL. */
MUST_CHECK enum rc reply_mutation(struct meta *meta, const struct call *call, const char *verb,
                                  ino_num ino, struct node_attr *out, struct err *e);
/* The same with retry_doubted(). */
MUST_CHECK enum rc reply_doubted(struct meta *meta, struct lane *doubt, const struct call *call,
                                 const char *verb, ino_num ino, struct node_attr *out,
                                 struct err *e);

/* Take in the usage of an answer that is no row of attributes. */
void reply_usage(struct meta *meta, const struct pg_result *answer);

#endif
