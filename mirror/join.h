/*
 * join - one join under way: what it was asked for, both connections, and its parts.
 *
 * Private to mirror/join*.c.
 */
#ifndef MIRROR_JOIN_H
#define MIRROR_JOIN_H

#include <limits.h>
#include <stdbool.h>

#include "fs/meta/finding.h"
#include "fs/meta/pg.h"

#define JOIN_SITE_MAX 40
#define JOIN_LOOK_MS  200
#define JOIN_URL_MAX  2048

struct join_options {
    const char *primary, *primary_password, *primary_passfile;
    const char *source, *source_password;
    const char *name, *bucket, *origin;
    bool check, json;
};

struct join {
    const struct join_options *o;
    const char *url;
    const char *password;        /* at the server that is followed; NULL: as libpq finds it */
    char followed[JOIN_URL_MAX]; /* its URL, with the passfile */
    char slot[JOIN_SITE_MAX + 8];
    char bucket[PATH_MAX], origin[PATH_MAX]; /* as URLs; "" for none */
    char target[16];                         /* pg_temp.target_state() */
    bool has_subscription;
    unsigned shards; /* of the volume; 0, 1: none */
    bool may_subscribe;
    int copy_workers;
    /* primary is the server that is followed; home is the primary where that is a mirror, else NULL
     */
    struct pg *own, *primary, *home;
    bool has_lock; /* lives as long as own */
};

/* Where sites are registered and markers made. */
static inline struct pg *join_home(const struct join *j)
{
    return j->home ? j->home : j->primary;
}

/* Connect to all that are not connected. */
MUST_CHECK enum rc join_connect(struct join *j, struct err *e);

/* Collect what is found; fills what is known of the target. */
MUST_CHECK enum rc join_check(struct join *j, struct findings *found, struct err *e);

/* Its parts about the bucket, and about room for bytes of tables. */
MUST_CHECK enum rc join_check_bucket(const struct join *j, struct findings *found, struct err *e);
MUST_CHECK enum rc join_check_disk(struct join *j, int64_t bytes, struct findings *found,
                                   struct err *e);

/* Everything up to the subscription, anew; what an interrupted join left is taken away. */
MUST_CHECK enum rc join_make(struct join *j, struct err *e);

/*
 * Take the lock of this mirror on the connection own, waiting a moment for that of a killed join.
 * RC_EXISTS: another join or agent is at work.
 */
MUST_CHECK enum rc join_lock(struct join *j, struct err *e);

/* A subscription is there already: take the lock, and drop it if its slot is gone. */
MUST_CHECK enum rc join_resume(struct join *j, struct err *e);

/* From the subscription to a mirror that may be mounted, through restarts of either server. */
MUST_CHECK enum rc join_follow(struct join *j, struct err *e);

#endif
