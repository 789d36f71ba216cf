#include "fs/meta/copy.h"

#include <errno.h>

#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

const uint64_t chunk_none = UINT64_MAX;

static bool is_too_long(uint64_t off, uint64_t len)
{
    return off > META_LENGTH_MAX || len > META_LENGTH_MAX - off;
}

enum rc meta_copy_range(struct meta *meta, const struct meta_copy *what, uint64_t *copied,
                        struct node_attr *out, struct err *e)
{
    if (is_too_long(what->from_off, what->len) || is_too_long(what->to_off, what->len))
        return err_refused(e, EFBIG, "a copy of %llu bytes", (unsigned long long)what->len);
    if (meta_check_growth(meta, what->to, what->len, what->to_off + what->len, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->from),
        pg_int8((int64_t)what->from_off),
        pg_int8((int64_t)what->to),
        pg_int8((int64_t)what->to_off),
        pg_int8((int64_t)what->len),
        pg_bool(what->kill_suid),
    };
    struct call *call = CALL("SELECT * FROM tarn_1.copy_range($1,$2,$3,$4,$5,$6,$7,$8,$9)", params);
    enum rc rc = reply_mutation(meta, call, "copy", what->to, out, e);
    if (rc)
        return rc;
    *copied = out->rdev; /* of a file it means nothing else */
    out->rdev = 0;
    return RC_OK;
}

enum rc meta_next_chunk(struct meta *meta, ino_num ino, uint64_t indx, uint64_t *out, struct err *e)
{
    *out = chunk_none;
    if (indx > INT32_MAX)
        return RC_OK;
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int4((int32_t)indx)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.next_chunk($1,$2)", params), &answer, e))
        return err_note(e, "next chunk of inode %llu", (unsigned long long)ino);
    if (reply_check(answer, "next chunk", ino, e))
        return e->code;
    const int column = pg_column(answer, "indx");
    if (!pg_is_null(answer, 0, column))
        *out = (uint64_t)pg_get_int4(answer, 0, column);
    return RC_OK;
}
