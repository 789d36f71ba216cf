/*
 * The session: a row with an expiry by the database's clock, which other clients may take away
 * when it has passed. What we held under it is lost then, and a new one is begun.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/meta/handle.h"
#include "fs/meta/place.h"
#include "fs/meta/reply.h"

#define SESSION_TTL_S    60
#define CONN_IDLE_MS     60000
#define CLOSE_TIMEOUT_MS 15000
#define INFO_BYTES_MAX   65536
/* A mount that was silent for longer follows nobody: blocks without metadata do not stay. */
#define SILENCE_S 600

/* IPv4 addresses other than loopback, as the text of a JSON array. */
static enum rc list_addresses(const struct ifaddrs *list, struct buf *out, struct err *e)
{
    for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
        char text[NI_MAXHOST];
        if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET ||
            getnameinfo(a->ifa_addr, sizeof(struct sockaddr_in), text, sizeof(text), NULL, 0,
                        NI_NUMERICHOST) ||
            strncmp(text, "127.", 4) == 0)
            continue;
        if (buf_addf(out, e, "%s\"%s\"", out->size ? "," : "[", text))
            return e->code;
    }
    return out->size ? buf_add_str(out, "]", e) : RC_OK;
}

/* An empty list is left out of the document, as stock clients do. */
static enum rc add_addresses(struct json *info, struct err *e)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        return RC_OK; /* they are for people to read: not worth failing for */
    auto_buf struct buf text;
    buf_init(&text, INFO_BYTES_MAX);
    enum rc rc = list_addresses(list, &text, e);
    freeifaddrs(list);
    if (rc || text.size == 0)
        return rc;
    auto_json struct json *addresses = NULL;
    if (json_parse(buf_bytes(&text), &addresses, e))
        return e->code;
    return json_set(info, "IPAddrs", &addresses, e);
}

/* RFC 3339 with nanoseconds, in UTC. */
static void now_text(char out[64])
{
    const struct timespec now = clock_wall();
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char day[32];
    (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, 64, "%s.%09ldZ", day, now.tv_nsec);
}

/* The members that stock clients write, in their order. */
static enum rc fill_info(struct json *info, const char *mount_point, struct err *e)
{
    char version[64], host[256] = "", time[64];
    (void)snprintf(version, sizeof(version), "%s+tarn.%s", format_client_version, TARN_VERSION);
    (void)gethostname(host, sizeof(host) - 1);
    now_text(time);
    struct bytes mount = {(const uint8_t *)mount_point, strlen(mount_point)};
    if (json_set_string(info, "Version", version, e) ||
        json_set_bytes(info, "HostName", (struct bytes){(uint8_t *)host, strlen(host)}, e) ||
        add_addresses(info, e) || json_set_bytes(info, "MountPoint", mount, e) ||
        json_set_string(info, "MountTime", time, e))
        return e->code;
    return json_set_int(info, "ProcessID", getpid(), e);
}

static enum rc make_info(const char *mount_point, char **out, struct err *e)
{
    auto_json struct json *info = json_object_new();
    auto_buf struct buf text;
    buf_init(&text, INFO_BYTES_MAX);
    const char *cstr;
    if (!info)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc = fill_info(info, mount_point, e);
    if (!rc)
        rc = json_write(info, JSON_COMPACT, &text, e);
    if (!rc)
        rc = buf_cstr(&text, &cstr, e);
    if (rc)
        return rc;
    *out = strdup(cstr);
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

/* Why no session was given. A mirror and a read-only server both refuse with EROFS. */
static enum rc no_session(struct err *e)
{
    if (e->posix == EROFS)
        return err_fail(e, RC_DENIED, "this database takes no writes: mount it read-only");
    return err_note(e, "could not begin a session");
}

/* What the primary says when asked for a session. */
struct grant {
    uint64_t sid;
    int64_t epoch;
};

static void note_heard(struct meta *meta)
{
    atomic_store(&meta->heard_s, clock_wall().tv_sec);
}

/*
 * Ask for a session with the info kept in the handle. Sent again freely: a session whose number
 * was lost on the way expires by itself.
 */
static enum rc ask_session(struct meta *meta, struct grant *out, struct err *e)
{
    const char *info = meta->session_info; /* set once, before the first session */
    struct bytes text = {(const uint8_t *)info, strlen(info)};
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_bytea(text), pg_int4(SESSION_TTL_S)};
    struct call *call = CALL("SELECT s.err, s.sid, p.epoch FROM tarn_1.session_open($1,$2) AS s"
                             " LEFT JOIN tarn_1.place() AS p ON true",
                             params);
    if (retry_change(meta, call, &answer, e) || reply_check(answer, "session_open", 0, e))
        return e->code;
    int64_t sid = pg_get_int8(answer, 0, pg_column(answer, "sid"));
    if (sid <= 0)
        return err_fail(e, RC_CORRUPT, "the session counter is missing or negative");
    *out = (struct grant){(uint64_t)sid, pg_get_int8(answer, 0, pg_column(answer, "epoch"))};
    note_heard(meta);
    return RC_OK;
}

static enum rc open_session(struct meta *meta, struct err *e)
{
    struct grant grant;
    if (ask_session(meta, &grant, e))
        return e->code;
    atomic_store(&meta->has_locked, false);
    lane_session_set(&meta->session, grant.sid, grant.epoch);
    return RC_OK;
}

/* ---- one thread at a time begins a session ---- */

static enum rc take_turn(struct meta *meta, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(meta->timeout_ms);
    LOCK_SCOPE(&meta->lock);
    while (meta->is_beginning)
        if (!lock_wait(&meta->begun, &meta->lock, deadline_ms))
            return err_fail(e, RC_UNAVAILABLE, "a session was not begun in time");
    meta->is_beginning = true;
    return RC_OK;
}

static void give_turn(struct meta *meta)
{
    LOCK_SCOPE(&meta->lock);
    meta->is_beginning = false;
    lock_broadcast(&meta->begun);
}

enum rc meta_session_need(struct meta *meta, struct err *e)
{
    if (!meta->session_info)
        return RC_OK; /* the lane will say that there is none */
    if (take_turn(meta, e))
        return e->code;
    enum rc rc = lane_session_id(&meta->session) ? RC_OK : open_session(meta, e);
    give_turn(meta);
    return rc;
}

/* The epoch that the primary is in. */
static enum rc ask_epoch(struct meta *meta, int64_t *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    const struct call call = {"SELECT * FROM tarn_1.place()", NULL, 0, false};
    if (retry_at_primary(meta, &call, &answer, e))
        return e->code;
    *out = pg_rows(answer) == 1 ? pg_get_int8(answer, 0, pg_column(answer, "epoch")) : 0;
    return RC_OK;
}

/*
 * Sessions and locks stay behind when another site becomes the primary. Without locks nothing was
 * lost with the session: what it has pending may be sent in the next one. With locks others may
 * have them by now, and what was written under them must not come after.
 */
static bool may_follow(struct meta *meta, uint64_t sid)
{
    return meta->follows_primary && lane_session_id(&meta->session) == sid &&
           !lane_session_is_lost(&meta->session) && !atomic_load(&meta->has_locked) &&
           clock_wall().tv_sec - atomic_load(&meta->heard_s) < SILENCE_S;
}

static bool follow(struct meta *meta, uint64_t sid)
{
    struct err e = ERR_INIT;
    struct grant grant;
    int64_t epoch = 0;
    place_suspect(meta);
    if (!may_follow(meta, sid) || ask_epoch(meta, &epoch, &e) ||
        epoch <= lane_session_epoch(&meta->session) || ask_session(meta, &grant, &e))
        return false;
    freshness_restart(&meta->fresh);
    lane_session_follow(&meta->session, grant.sid, grant.epoch);
    log_info("session %llu of epoch %lld follows session %llu, whose primary was replaced",
             (unsigned long long)grant.sid, (long long)grant.epoch, (unsigned long long)sid);
    return true;
}

bool meta_session_followed(struct meta *meta, uint64_t sid)
{
    struct err e = ERR_INIT;
    if (take_turn(meta, &e))
        return false;
    const bool is_followed = lane_session_follows(&meta->session, sid) || follow(meta, sid);
    give_turn(meta);
    return is_followed;
}

/* One heartbeat of session sid; 0: of none. *is_over: the session row is gone. */
static enum rc refresh(struct meta *meta, uint64_t sid, struct meta_vitals *out, bool *is_over,
                       struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)sid), pg_int4(SESSION_TTL_S)};
    const struct call *call = CALL("SELECT * FROM tarn_1.session_refresh($1,$2)", params);
    enum rc rc =
        sid ? retry_at_primary(meta, call, &answer, e) : retry_here(meta, call, &answer, e);
    if (rc)
        return err_note(e, "could not refresh the session");
    int err_column = pg_column(answer, "err");
    *is_over = pg_rows(answer) == 1 && pg_get_int4(answer, 0, err_column) == ESTALE;
    if (*is_over)
        return RC_OK;
    if (reply_check(answer, "session_refresh", 0, e))
        return e->code;
    const char *format = pg_get_text(answer, 0, pg_column(answer, "format"));
    if (!format)
        return err_fail(e, RC_INVALID, "the volume's format row is gone");
    out->used_space = pg_get_int8(answer, 0, pg_column(answer, "used_space"));
    out->used_inodes = pg_get_int8(answer, 0, pg_column(answer, "used_inodes"));
    if (meta_format_update(meta, format, &out->format_changed, e))
        return e->code;
    meta_set_vitals(meta, out->used_space, out->used_inodes);
    note_heard(meta);
    return RC_OK;
}

void meta_set_vitals(struct meta *meta, int64_t used_space, int64_t used_inodes)
{
    LOCK_SCOPE(&meta->lock);
    meta->has_vitals = true;
    meta->used_space = used_space;
    meta->used_inodes = used_inodes;
}

/* A limited volume must know from its first write how full it is. */
static enum rc learn_vitals(struct meta *meta, struct err *e)
{
    struct format *format = meta_format_ref(meta);
    bool is_limited = format->capacity || format->inodes;
    meta_format_unref(meta, &format);
    struct meta_vitals vitals;
    bool is_over;
    return is_limited ? refresh(meta, 0, &vitals, &is_over, e) : RC_OK;
}

enum rc meta_session_begin(struct meta *meta, const char *mount_point, struct err *e)
{
    const bool is_elsewhere = strcmp(meta_site(meta)->role, "primary") != 0;
    if (meta->is_read_only || (is_elsewhere && !meta->follows_primary))
        return err_fail(e, RC_DENIED, "a mirror or a read-only volume takes no session");
    enum rc rc = meta->session_info ? RC_OK : make_info(mount_point, &meta->session_info, e);
    if (!rc && !is_elsewhere)
        rc = open_session(meta, e) ? no_session(e) : RC_OK;
    return rc ? rc : learn_vitals(meta, e);
}

uint64_t meta_session_id(const struct meta *meta)
{
    /* The lock inside is not part of what const promises. */
    return lane_session_id((struct lane_session *)(uintptr_t)&meta->session);
}

enum rc meta_session_renew(struct meta *meta, struct err *e)
{
    return open_session(meta, e) ? no_session(e) : RC_OK;
}

/* ---- the heartbeat ---- */

static void trim(struct meta *meta)
{
    conn_pool_trim(&meta->here->conns, CONN_IDLE_MS);
    lock_take(&meta->lock);
    struct server *first = meta->far; /* it and those behind it stay */
    lock_drop(&meta->lock);
    for (struct server *server = first; server; server = server->next)
        conn_pool_trim(&server->conns, CONN_IDLE_MS);
}

enum rc meta_refresh(struct meta *meta, struct meta_vitals *out, struct err *e)
{
    *out = (struct meta_vitals){.used_space = 0};
    trim(meta);
    if (meta->follows_primary && place_look(meta, e))
        return e->code;
    atomic_store(&meta->beaten, atomic_load(&meta->site));
    const uint64_t sid = lane_session_id(&meta->session);
    bool is_over = false;
    if (refresh(meta, sid, out, &is_over, e))
        return e->code;
    if (sid == 0 || (!is_over && !lane_session_is_lost(&meta->session)))
        return RC_OK;
    if (meta_session_followed(meta, sid))
        return RC_OK;
    lane_session_lose(&meta->session, sid);
    return err_fail(e, RC_STALE, "session %llu was ended by another client",
                    (unsigned long long)sid);
}

static bool is_away(const struct server *server)
{
    return server && server->is_far && atomic_load(&server->is_away);
}

bool meta_tend(struct meta *meta)
{
    struct err e = ERR_INIT;
    auto_result struct pg_result *answer = NULL;
    const struct call call = {"SELECT * FROM tarn_1.place()", NULL, 0, false};
    struct server *const primary = place_primary(meta);
    if (atomic_load(&meta->site) != atomic_load(&meta->beaten))
        return true;
    if (!is_away(primary)) {
        if (place_is_mirror(meta))
            freshness_prepare(&meta->fresh, meta);
        return false;
    }
    place_suspect(meta);
    return place_primary(meta) != primary || retry_probe(meta, &call, &answer, &e) == RC_OK;
}

enum rc meta_check_primary(struct meta *meta, struct err *e)
{
    const bool is_refused = meta->wait_primary_ms == 0 && is_away(place_primary(meta));
    return is_refused ? err_refused(e, EROFS, "the primary cannot be reached") : RC_OK;
}

static void close_session(struct meta *meta, uint64_t sid)
{
    struct err e = ERR_INIT;
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)sid)};
    if (retry_at_primary(meta, CALL("SELECT * FROM tarn_1.session_close($1)", params), &answer, &e))
        log_err(LOG_LEVEL_WARN, &e, "session %llu is left to expire", (unsigned long long)sid);
}

/*
 * Pending counts first: their lane ends with the session. Whoever unmounts does not wait a whole
 * minute, and then another, for a server that is away.
 */
void meta_session_end(struct meta *meta)
{
    const uint64_t sid = lane_session_id(&meta->session);
    if (sid == 0)
        return;
    if (meta->timeout_ms > CLOSE_TIMEOUT_MS)
        meta->timeout_ms = CLOSE_TIMEOUT_MS; /* no other thread is left that could read it */
    struct err e = ERR_INIT;
    enum rc rc = meta_flush_usage(meta, &e);
    if (rc)
        log_err(LOG_LEVEL_WARN, &e, "the last usage counts were not flushed; fsck repairs them");
    if (rc != RC_UNAVAILABLE)
        close_session(meta, sid);
    lane_session_set(&meta->session, 0, 0);
}
