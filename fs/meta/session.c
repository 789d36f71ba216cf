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
#include "fs/meta/reply.h"

#define SESSION_TTL_S    60
#define CONN_IDLE_MS     60000
#define CLOSE_TIMEOUT_MS 15000
#define INFO_BYTES_MAX   65536

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

/*
 * Ask for a session with the info kept in the handle. Sent again freely: a session whose number
 * was lost on the way expires by itself.
 */
static enum rc open_session(struct meta *meta, struct err *e)
{
    const char *info = meta->session_info; /* set once, before the first session */
    struct bytes text = {(const uint8_t *)info, strlen(info)};
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_bytea(text), pg_int4(SESSION_TTL_S)};
    struct call *call = CALL("SELECT * FROM tarn_1.session_open($1,$2)", params);
    if (retry_read(meta, call, &answer, e) || reply_check(answer, "session_open", 0, e))
        return no_session(e);
    int64_t sid = pg_get_int8(answer, 0, pg_column(answer, "sid"));
    if (sid <= 0)
        return err_fail(e, RC_CORRUPT, "the session counter is missing or negative");
    lane_session_set(&meta->session, (uint64_t)sid);
    return RC_OK;
}

/* One heartbeat of session sid; 0: of none. *is_over: the session row is gone. */
static enum rc refresh(struct meta *meta, uint64_t sid, struct meta_vitals *out, bool *is_over,
                       struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)sid), pg_int4(SESSION_TTL_S)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.session_refresh($1,$2)", params), &answer, e))
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
    if (meta->is_read_only || strcmp(meta->site.role, "primary") != 0)
        return err_fail(e, RC_DENIED, "a mirror or a read-only volume takes no session");
    enum rc rc = meta->session_info ? RC_OK : make_info(mount_point, &meta->session_info, e);
    if (!rc)
        rc = open_session(meta, e);
    return rc ? rc : learn_vitals(meta, e);
}

uint64_t meta_session_id(const struct meta *meta)
{
    /* The lock inside is not part of what const promises. */
    return lane_session_id((struct lane_session *)(uintptr_t)&meta->session);
}

enum rc meta_session_renew(struct meta *meta, struct err *e)
{
    return open_session(meta, e);
}

enum rc meta_refresh(struct meta *meta, struct meta_vitals *out, struct err *e)
{
    *out = (struct meta_vitals){.used_space = 0};
    conn_pool_trim(&meta->conns, CONN_IDLE_MS);
    const uint64_t sid = lane_session_id(&meta->session);
    bool is_over = false;
    if (refresh(meta, sid, out, &is_over, e))
        return e->code;
    if (sid == 0 || (!is_over && !lane_session_is_lost(&meta->session)))
        return RC_OK;
    lane_session_lose(&meta->session, sid);
    return err_fail(e, RC_STALE, "session %llu was ended by another client",
                    (unsigned long long)sid);
}

static void close_session(struct meta *meta, uint64_t sid)
{
    struct err e = ERR_INIT;
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)sid)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.session_close($1)", params), &answer, &e))
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
    lane_session_set(&meta->session, 0);
}
