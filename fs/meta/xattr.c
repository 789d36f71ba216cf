#include <errno.h>
#include <string.h>

#include "fs/base/utf8.h"
#include "fs/meta/file.h"
#include "fs/meta/reply.h"

#define XATTR_NAME_MAX 255

static bool is_text(const char *name)
{
    const size_t size = strlen(name);
    size_t step;
    for (size_t at = 0; at < size; at += step)
        if ((step = utf8_sequence(name + at, size - at)) == 0)
            return false;
    return true;
}

/* The format keeps names as text; one that is no text cannot be there (if_no_text: the errno). */
static enum rc check_xattr_name(const char *name, int if_no_text, struct err *e)
{
    const size_t size = strlen(name);
    if (size == 0 || size > XATTR_NAME_MAX)
        return err_refused(e, size ? ERANGE : EINVAL, "an attribute name of %zu bytes", size);
    if (!is_text(name))
        return err_refused(e, if_no_text, "an attribute name that is not UTF-8");
    return RC_OK;
}

/* Run a read that answers err and one bytea; append that to out. */
static enum rc read_bytes(struct meta *meta, const struct call *call, const char *verb,
                          const char *column, ino_num ino, struct buf *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, call, &answer, e))
        return err_note(e, "%s of inode %llu", verb, (unsigned long long)ino);
    if (reply_check(answer, verb, ino, e))
        return e->code;
    struct bytes value = pg_get_bytes(answer, 0, pg_column(answer, column));
    return value.size ? buf_add(out, value.data, value.size, e) : RC_OK;
}

enum rc meta_getxattr(struct meta *meta, ino_num ino, const char *name, struct buf *out,
                      struct err *e)
{
    if (check_xattr_name(name, ENODATA, e))
        return e->code;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_text(name)};
    return read_bytes(meta, CALL("SELECT * FROM tarn_1.getxattr($1,$2)", params), "getxattr",
                      "value", ino, out, e);
}

enum rc meta_listxattr(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    return read_bytes(meta, CALL("SELECT * FROM tarn_1.listxattr($1)", params), "listxattr",
                      "names", ino, out, e);
}

enum rc meta_setxattr(struct meta *meta, ino_num ino, const char *name, struct bytes value,
                      int flags, struct err *e)
{
    if (check_xattr_name(name, EINVAL, e))
        return e->code;
    if (value.size > META_XATTR_MAX)
        return err_refused(e, E2BIG, "an attribute value of %zu bytes", value.size);
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_text(name), pg_bytea(value),
                                pg_int4(flags)};
    struct call *call = CALL("SELECT * FROM tarn_1.setxattr($1,$2,$3,$4,$5,$6,$7)", params);
    return reply_mutation(meta, call, "setxattr", ino, NULL, e);
}

enum rc meta_removexattr(struct meta *meta, ino_num ino, const char *name, struct err *e)
{
    if (check_xattr_name(name, ENODATA, e))
        return e->code;
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_text(name)};
    struct call *call = CALL("SELECT * FROM tarn_1.removexattr($1,$2,$3,$4,$5)", params);
    return reply_mutation(meta, call, "removexattr", ino, NULL, e);
}
