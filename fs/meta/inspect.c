#include "fs/meta/inspect.h"

#include <inttypes.h>

#include "fs/meta/reply.h"
#include "fs/meta/retry.h"

static struct call no_arguments(const char *sql)
{
    return (struct call){sql, NULL, 0, true};
}

enum rc meta_sessions(struct meta *meta, meta_session_visit visit, void *arg, struct err *e)
{
    const struct call call = no_arguments("SELECT * FROM tarn_1.sessions()");
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, &call, &r, e))
        return e->code;
    const int sid = pg_column(r, "sid"), expire = pg_column(r, "expire_s");
    const int stale = pg_column(r, "is_stale"), info = pg_column(r, "info");
    for (int row = 0; row < pg_rows(r); row++) {
        const struct meta_session_row session = {
            .sid = (uint64_t)pg_get_int8(r, row, sid),
            .expire_s = pg_get_int8(r, row, expire),
            .is_stale = pg_get_bool(r, row, stale),
            .info = pg_get_bytes(r, row, info),
        };
        visit(&session, arg);
    }
    return RC_OK;
}

enum rc meta_summary(struct meta *meta, ino_num ino, bool is_recursive, struct meta_summary *out,
                     struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_bool(is_recursive)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.summary($1,$2)", params), &r, e))
        return e->code;
    *out = (struct meta_summary){
        .files = (uint64_t)pg_get_int8(r, 0, pg_column(r, "files")),
        .dirs = (uint64_t)pg_get_int8(r, 0, pg_column(r, "dirs")),
        .length = (uint64_t)pg_get_int8(r, 0, pg_column(r, "length")),
        .space = (uint64_t)pg_get_int8(r, 0, pg_column(r, "space")),
    };
    return RC_OK;
}

enum rc meta_path(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.path($1)", params), &r, e) ||
        reply_check(r, "path", ino, e))
        return e->code;
    struct bytes path = pg_get_bytes(r, 0, pg_column(r, "path"));
    return buf_add(out, path.data, path.size, e);
}

enum rc meta_path_shown(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    struct err none = ERR_INIT;
    if (meta_path(meta, ino, out, &none) == RC_OK)
        return RC_OK;
    return buf_addf(out, e, "inode:%" PRIu64, ino);
}

enum rc meta_count_unsummed(struct meta *meta, uint64_t *slices, uint64_t *without_sum,
                            struct err *e)
{
    const struct call call = no_arguments("SELECT * FROM tarn_1.unsummed()");
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, &call, &r, e))
        return e->code;
    *slices = (uint64_t)pg_get_int8(r, 0, pg_column(r, "slices"));
    *without_sum = (uint64_t)pg_get_int8(r, 0, pg_column(r, "without_sum"));
    return RC_OK;
}
