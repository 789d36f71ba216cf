/*
 * meta - the handle on a volume's metadata: connections, lanes, the session, retries.
 *
 * A mutation takes a lane (a numbered row in tarn.slot), sends one call and waits for its COMMIT.
 * When the answer is lost the same op is sent again on a new connection, and the slot row says
 * whether it had arrived; so UNCERTAIN never leaves this module while the deadline lasts. Reads and
 * mutations take any connection, and share one when all are busy. Both wait for a restarting server
 * until the deadline of the call, then fail with RC_UNAVAILABLE.
 *
 * Threads   any, between open and close
 * Blocking  every verb waits for PostgreSQL: workers and FUSE threads only
 * Units     deadlines are CLOCK_MONOTONIC milliseconds, set inside from options.timeout_ms
 */
#ifndef FS_META_META_H
#define FS_META_META_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"
#include "fs/meta/format.h"
#include "fs/meta/types.h"

struct meta;

/* How new what a read at a mirror answers has to be. At a primary all mean the same. */
enum meta_freshness {
    FRESH_EVENTUAL, /* what has arrived */
    FRESH_SESSION,  /* all that this handle has seen or done before */
    FRESH_STRICT,   /* all that anybody has done before */
};

struct meta_options {
    const char *url;             /* postgres://…; the password may come from META_PASSWORD */
    const char *application;     /* application_name: "tarn mount" */
    unsigned max_conns;          /* connections at most; 0: 4 */
    uint64_t timeout_ms;         /* patience of one call through restarts; 0: 60 000 */
    uint64_t connect_timeout_ms; /* of the first connection, which is not retried; 0: 10 000 */
    bool is_read_only;           /* open no session, refuse mutations with EROFS */

    /* Of a handle that stays: changes go to whichever site is the primary, also while that changes.
     */
    bool follows_primary;
    enum meta_freshness freshness;
    const char *primary_url;      /* at a mirror: instead of the one it knows; NULL: that one */
    const char *primary_password; /* of the primary's database; NULL: libpq's passfile */
    uint64_t wait_primary_ms;     /* patience of changes with a primary that is away */
};

/* The place this database is (row of tarn.local_site). */
struct meta_site {
    char *name, *role, *state;          /* "primary" | "mirror" */
    char *local_bucket, *origin_bucket; /* NULL: as the format row */
    char *former_bucket; /* of the primary before this one, while blocks are fetched from it */
    char *primary_url;
    bool is_ready; /* a primary, or a mirror that has become consistent */
    int64_t epoch;
};

/*
 * Connect and read format row and site in one exchange.
 *
 * RC_INVALID      malformed URL
 * RC_UNAVAILABLE  nobody answers
 * RC_DENIED       wrong password or missing privilege
 * RC_NOT_FOUND    the database holds no volume ("not formatted")
 * RC_STALE        it holds a volume that Tarn has not adopted, or functions of another version
 */
MUST_CHECK enum rc meta_open(struct meta **out, const struct meta_options *options, struct err *e);

/* Close the session if there is one, then the connections. */
void meta_close(struct meta **meta);

/*
 * Both are valid until meta_close(), and are replaced by meta_refresh(): take a reference to the
 * format, and ask for the site anew where it matters.
 */
const struct meta_site *meta_site(const struct meta *meta);
struct format *meta_format_ref(struct meta *meta);
void meta_format_unref(struct meta *meta, struct format **format);

/*
 * Begin a session: mutations need one. A handle that follows the primary begins it with its first
 * mutation instead when it is at a mirror, so that those who only read cost the primary nothing.
 * RC_DENIED on a mirror otherwise, and on a read-only server.
 */
MUST_CHECK enum rc meta_session_begin(struct meta *meta, const char *mount_point, struct err *e);
uint64_t meta_session_id(const struct meta *meta); /* 0: none */

struct meta_vitals {
    int64_t used_space, used_inodes; /* of the volume, as last flushed by all clients */
    bool format_changed;
};

/*
 * The heartbeat: extend the session by the database's clock, re-read format and counters.
 *
 * RC_STALE    the session was ended by another client: what was held under it is lost. Let all of
 *             that go, then meta_session_renew(); until then every mutation answers RC_STALE
 * RC_INVALID  the volume is another one now (UUID changed or row gone): the mount must end
 */
MUST_CHECK enum rc meta_refresh(struct meta *meta, struct meta_vitals *out, struct err *e);

/*
 * To be called each second: sees whether a primary that was away is back. True: it is, or it is
 * another one now, and a heartbeat is due.
 */
bool meta_tend(struct meta *meta);

/* RC_REFUSED with EROFS where a change would be refused because the primary is known to be away. */
MUST_CHECK enum rc meta_check_primary(struct meta *meta, struct err *e);

/* Begin the session that follows one that was ended. */
MUST_CHECK enum rc meta_session_renew(struct meta *meta, struct err *e);

/*
 * Bring the accounting that replies asked for into the database, and that of operations whose reply
 * was lost; called each second and at close.
 */
MUST_CHECK enum rc meta_flush_usage(struct meta *meta, struct err *e);
/* The part that is not flushed yet. */
void meta_pending_usage(struct meta *meta, int64_t *space, int64_t *inodes);

/* Exchanges with PostgreSQL so far (for tests and .stats). */
uint64_t meta_exchanges(const struct meta *meta);

#endif
