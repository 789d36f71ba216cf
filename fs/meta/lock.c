#include "fs/meta/lock.h"

#include "fs/base/wire.h"
#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

#define RECORD_BYTES 24
#define INOS_MAX     4096

enum rc meta_getlk(struct meta *meta, struct meta_lock *lock, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {
        pg_int8((int64_t)meta_session_id(meta)), pg_int8((int64_t)lock->ino),
        pg_int8((int64_t)lock->owner),           pg_int4((int32_t)lock->type),
        pg_int8((int64_t)lock->start),           pg_int8((int64_t)lock->end),
    };
    struct call *call = CALL("SELECT * FROM tarn_1.getlk($1,$2,$3,$4,$5,$6)", params);
    if (retry_at_primary(meta, call, &answer, e))
        return err_note(e, "getlk of inode %llu", (unsigned long long)lock->ino);
    if (reply_check(answer, "getlk", lock->ino, e))
        return e->code;
    const int32_t type = pg_get_int4(answer, 0, pg_column(answer, "type"));
    if (type < META_LOCK_READ || type > META_LOCK_NONE)
        return err_fail(e, RC_CORRUPT, "inode %llu has a lock of type %d",
                        (unsigned long long)lock->ino, type);
    lock->type = (enum meta_lock_type)type;
    lock->pid = (uint32_t)pg_get_int4(answer, 0, pg_column(answer, "pid"));
    lock->start = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "first"));
    lock->end = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "last"));
    return RC_OK;
}

static enum rc set_flock(struct meta *meta, const struct meta_lock *lock, struct node_attr *out,
                         struct err *e)
{
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)lock->ino),
                                pg_int8((int64_t)lock->owner), pg_int4((int32_t)lock->type)};
    struct call *call = CALL("SELECT * FROM tarn_1.flock($1,$2,$3,$4,$5,$6)", params);
    return reply_mutation(meta, call, "flock", lock->ino, out, e);
}

static enum rc set_posix(struct meta *meta, const struct meta_lock *lock, struct node_attr *out,
                         struct err *e)
{
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)lock->ino),
        pg_int8((int64_t)lock->owner),
        pg_int4((int32_t)lock->type),
        pg_int8((int64_t)lock->start),
        pg_int8((int64_t)lock->end),
        pg_int4((int32_t)lock->pid),
    };
    struct call *call = CALL("SELECT * FROM tarn_1.setlk($1,$2,$3,$4,$5,$6,$7,$8,$9)", params);
    return reply_mutation(meta, call, "setlk", lock->ino, out, e);
}

/* What was given up must not be done behind this one: a lock after its unlock, or the reverse. */
enum rc meta_setlk(struct meta *meta, const struct meta_lock *lock, struct node_attr *out,
                   struct err *e)
{
    if (doubts_settle(&meta->doubts, meta, e))
        return e->code;
    if (lock->type != META_LOCK_NONE)
        atomic_store(&meta->has_locked, true); /* before it is, since the answer may be lost */
    return lock->kind == META_FLOCK ? set_flock(meta, lock, out, e) : set_posix(meta, lock, out, e);
}

/* ---- all locks of some inodes ---- */

struct row_columns {
    int ino, sid, owner, type, records;
};

/* A lock by flock has no records, one by fcntl as many as it has ranges. */
static size_t locks_in(const struct pg_result *answer, int row, const struct row_columns *c)
{
    return pg_is_null(answer, row, c->records)
               ? 1
               : pg_get_bytes(answer, row, c->records).size / RECORD_BYTES;
}

static struct meta_lock_row *put_row(const struct pg_result *answer, int row,
                                     const struct row_columns *c, struct meta_lock_row *out)
{
    const bool is_flock = pg_is_null(answer, row, c->records);
    const struct bytes records = pg_get_bytes(answer, row, c->records);
    const size_t count = locks_in(answer, row, c);
    for (size_t i = 0; i < count; i++, out++) {
        *out = (struct meta_lock_row){
            .sid = (uint64_t)pg_get_int8(answer, row, c->sid),
            .lock = {.ino = (ino_num)pg_get_int8(answer, row, c->ino),
                     .kind = is_flock ? META_FLOCK : META_PLOCK,
                     .owner = (uint64_t)pg_get_int8(answer, row, c->owner)},
        };
        if (is_flock) {
            out->lock.type = (enum meta_lock_type)pg_get_int4(answer, row, c->type);
            continue;
        }
        const uint8_t *at = records.data + i * RECORD_BYTES;
        out->lock.type = (enum meta_lock_type)wire_u32(at);
        out->lock.pid = wire_u32(at + 4);
        out->lock.start = wire_u64(at + 8);
        out->lock.end = wire_u64(at + 16);
    }
    return out;
}

static enum rc decode_rows(const struct pg_result *answer, struct meta_lock_row **out,
                           size_t *count, struct err *e)
{
    const struct row_columns columns = {
        .ino = pg_column(answer, "ino"),
        .sid = pg_column(answer, "sid"),
        .owner = pg_column(answer, "owner"),
        .type = pg_column(answer, "type"),
        .records = pg_column(answer, "records"),
    };
    *count = 0;
    for (int row = 0; row < pg_rows(answer); row++)
        *count += locks_in(answer, row, &columns);
    *out = calloc(*count ? *count : 1, sizeof(**out));
    if (!*out)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    struct meta_lock_row *at = *out;
    for (int row = 0; row < pg_rows(answer); row++)
        at = put_row(answer, row, &columns, at);
    return RC_OK;
}

enum rc meta_lock_rows(struct meta *meta, const ino_num *inos, size_t ino_count,
                       struct meta_lock_row **out, size_t *count, struct err *e)
{
    auto_buf struct buf scratch;
    buf_init(&scratch, 64 + (size_t)INOS_MAX * 12);
    auto_free int64_t *numbers = calloc(ino_count ? ino_count : 1, sizeof(*numbers));
    if (!numbers)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t i = 0; i < ino_count; i++)
        numbers[i] = (int64_t)inos[i];
    struct pg_param params[1];
    if (pg_int8_array(&scratch, numbers, ino_count, &params[0], e))
        return e->code;

    auto_result struct pg_result *answer = NULL;
    if (retry_at_primary(meta, CALL("SELECT * FROM tarn_1.lock_rows($1)", params), &answer, e))
        return err_note(e, "locks of %zu inodes", ino_count);
    return decode_rows(answer, out, count, e);
}
