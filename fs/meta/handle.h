/*
 * handle - what a struct meta is made of. Private to fs/meta.
 */
#ifndef FS_META_HANDLE_H
#define FS_META_HANDLE_H

#include <stdatomic.h>

#include "fs/base/lock.h"
#include "fs/meta/doubts.h"
#include "fs/meta/freshness.h"
#include "fs/meta/ids.h"
#include "fs/meta/lane.h"
#include "fs/meta/meta.h"
#include "fs/meta/server.h"
#include "fs/meta/usage.h"

/* A format row that somebody may still use. */
struct format_version {
    struct format *format;
    unsigned references;
    struct format_version *next;
};

/* What this database said of its site; earlier ones stay, since somebody may still look at them. */
struct site_version {
    struct meta_site site;
    struct site_version *before;
};

struct meta {
    /* set at open */
    struct server *here;
    char *application, *primary_url, *primary_password;
    unsigned max_conns;
    uint64_t timeout_ms, connect_timeout_ms, wait_primary_ms;
    bool is_read_only, follows_primary;

    /* safe for any thread by themselves */
    struct freshness fresh;
    _Atomic(struct site_version *) site;
    _Atomic(struct server *) primary;      /* here or far; NULL: nobody knows where it is */
    _Atomic(struct site_version *) beaten; /* the site as of the last heartbeat */
    _Atomic uint64_t looked_ms;            /* when it was last asked about */
    atomic_bool has_locked;                /* file locks were taken in this session */
    _Atomic int64_t heard_s; /* when the session's primary last answered, by the wall clock */
    struct lane_pool lanes;
    struct lane_session session;
    struct usage usage;
    struct doubts doubts;
    struct id_range inodes, slices;

    /* shared, under lock */
    struct lock lock;
    struct format_version *formats; /* the first is the current one */
    char *format_text;              /* the row it was made from */
    char *session_info;             /* JSON of §9; NULL before the first session */
    struct server *far;             /* primaries of other sites so far; new ones in front */
    bool is_beginning;              /* a session is being begun */
    struct lock_cond begun;
    bool has_vitals;
    int64_t used_space, used_inodes; /* when has_vitals */
};

/* Replace the current format when text differs from the row known. RC_INVALID: another volume. */
MUST_CHECK enum rc meta_format_update(struct meta *meta, const char *text, bool *is_changed,
                                      struct err *e);

/*
 * Refuse with ENOSPC what would exceed the volume's capacity or number of inodes, as far as this
 * client knows: counters of the last heartbeat and its own pending part.
 */
MUST_CHECK enum rc meta_check_room(struct meta *meta, int64_t space, int64_t inodes, struct err *e);

/*
 * The same for a file that gets `bytes` and then ends at `end` or further out: only growth takes
 * room.
 */
MUST_CHECK enum rc meta_check_growth(struct meta *meta, ino_num ino, uint64_t bytes, uint64_t end,
                                     struct err *e);

/* Counters of the volume as just read. */
void meta_set_vitals(struct meta *meta, int64_t used_space, int64_t used_inodes);

/* A session for a mutation that has none yet. RC_DENIED: this handle gets none. */
MUST_CHECK enum rc meta_session_need(struct meta *meta, struct err *e);
/*
 * The primary says that session sid is none of its own. True: because another site has become the
 * primary, and a session has been begun there in its place without a loss.
 */
bool meta_session_followed(struct meta *meta, uint64_t sid);

/* The session part, for meta_close(): flush what is pending and end the session, best effort. */
void meta_session_end(struct meta *meta);

#endif
