#include "fs/meta/statfs.h"

#include "fs/meta/handle.h"
#include "fs/meta/retry.h"

static uint64_t not_negative(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

/* Counters of the database, with what this client has not flushed yet. */
static void fill(struct meta *meta, int64_t space, int64_t inodes, struct meta_statfs *out)
{
    int64_t pending_space, pending_inodes;
    usage_pending(&meta->usage, &pending_space, &pending_inodes);
    struct format *format = meta_format_ref(meta);
    *out = (struct meta_statfs){.used_space = not_negative(space + pending_space),
                                .used_inodes = not_negative(inodes + pending_inodes),
                                .total_space = format->capacity,
                                .total_inodes = format->inodes};
    meta_format_unref(meta, &format);
}

bool meta_statfs_known(struct meta *meta, struct meta_statfs *out)
{
    lock_take(&meta->lock);
    const bool is_known = meta->has_vitals;
    const int64_t space = meta->used_space, inodes = meta->used_inodes;
    lock_drop(&meta->lock);
    if (is_known)
        fill(meta, space, inodes, out);
    return is_known;
}

static enum rc ask(struct meta *meta, const struct call *call, struct meta_statfs *out,
                   struct pg_result **answer, struct err *e)
{
    if (retry_read(meta, call, answer, e))
        return err_note(e, "statfs");
    if (pg_rows(*answer) != 1)
        return err_fail(e, RC_CORRUPT, "statfs was answered with nothing");
    const int64_t space = pg_get_int8(*answer, 0, pg_column(*answer, "used_space"));
    const int64_t inodes = pg_get_int8(*answer, 0, pg_column(*answer, "used_inodes"));
    meta_set_vitals(meta, space, inodes);
    fill(meta, space, inodes, out);
    return RC_OK;
}

enum rc meta_statfs(struct meta *meta, struct meta_statfs *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    const struct call call = {"SELECT * FROM tarn_1.statfs()", NULL, 0, false};
    return ask(meta, &call, out, &answer, e);
}

static uint64_t limit(const struct pg_result *answer, const char *column)
{
    const int at = pg_column(answer, column);
    return pg_is_null(answer, 0, at) ? META_NO_LIMIT : not_negative(pg_get_int8(answer, 0, at));
}

enum rc meta_statfs_at(struct meta *meta, ino_num ino, struct meta_statfs *out,
                       struct meta_quota_room *room, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    if (ask(meta, CALL("SELECT * FROM tarn_1.statfs_at($1)", params), out, &answer, e))
        return e->code;
    *room = (struct meta_quota_room){
        .has_quota = !pg_is_null(answer, 0, pg_column(answer, "quota_space")),
        .used_space = not_negative(pg_get_int8(answer, 0, pg_column(answer, "quota_space"))),
        .used_inodes = not_negative(pg_get_int8(answer, 0, pg_column(answer, "quota_inodes"))),
        .space = limit(answer, "room_space"),
        .inodes = limit(answer, "room_inodes"),
    };
    return RC_OK;
}
