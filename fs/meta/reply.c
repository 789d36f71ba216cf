#include "fs/meta/reply.h"

#include <errno.h>

#include "fs/base/log.h"
#include "fs/meta/handle.h"

void reply_columns(const struct pg_result *answer, struct reply_columns *out)
{
    *out = (struct reply_columns){
        .err = pg_column(answer, "err"),
        .ino = pg_column(answer, "ino"),
        .type = pg_column(answer, "type"),
        .flags = pg_column(answer, "flags"),
        .mode = pg_column(answer, "mode"),
        .uid = pg_column(answer, "uid"),
        .gid = pg_column(answer, "gid"),
        .atime = pg_column(answer, "atime"),
        .mtime = pg_column(answer, "mtime"),
        .ctime = pg_column(answer, "ctime"),
        .atimensec = pg_column(answer, "atimensec"),
        .mtimensec = pg_column(answer, "mtimensec"),
        .ctimensec = pg_column(answer, "ctimensec"),
        .nlink = pg_column(answer, "nlink"),
        .length = pg_column(answer, "length"),
        .rdev = pg_column(answer, "rdev"),
        .parent = pg_column(answer, "parent"),
        .access_acl = pg_column(answer, "access_acl"),
        .default_acl = pg_column(answer, "default_acl"),
        .tier = pg_column(answer, "tier"),
    };
}

/* Microseconds since 1970, also before it, and the nanoseconds that are left over. */
static struct timespec time_of(int64_t us, int32_t nsec)
{
    int64_t sec = us / 1000000, rest = us % 1000000;
    if (rest < 0) {
        rest += 1000000;
        sec--;
    }
    if (nsec < 0 || nsec > 999)
        nsec = 0;
    return (struct timespec){.tv_sec = sec, .tv_nsec = rest * 1000 + nsec};
}

static struct timespec time_at(const struct pg_result *answer, int row, int us_column,
                               int nsec_column)
{
    return time_of(pg_get_int8(answer, row, us_column), pg_get_int4(answer, row, nsec_column));
}

static uint32_t u32_at(const struct pg_result *answer, int row, int column)
{
    return (uint32_t)pg_get_int4(answer, row, column);
}

enum rc reply_attr(const struct pg_result *answer, int row, const struct reply_columns *columns,
                   struct node_attr *out, struct err *e)
{
    const struct reply_columns *c = columns;
    const int32_t type = pg_get_int4(answer, row, c->type);
    const int64_t ino = pg_get_int8(answer, row, c->ino);
    const int64_t length = pg_get_int8(answer, row, c->length);
    if (ino <= 0 || type < NODE_FILE || type > NODE_SOCKET || length < 0)
        return err_fail(e, RC_CORRUPT, "inode %lld has type %d and length %lld", (long long)ino,
                        type, (long long)length);
    *out = (struct node_attr){
        .ino = (ino_num)ino,
        .type = (enum node_type)type,
        .flags = u32_at(answer, row, c->flags),
        .mode = u32_at(answer, row, c->mode) & 07777,
        .uid = (uint32_t)pg_get_int8(answer, row, c->uid),
        .gid = (uint32_t)pg_get_int8(answer, row, c->gid),
        .nlink = u32_at(answer, row, c->nlink),
        .rdev = (uint32_t)pg_get_int8(answer, row, c->rdev),
        .atime = time_at(answer, row, c->atime, c->atimensec),
        .mtime = time_at(answer, row, c->mtime, c->mtimensec),
        .ctime = time_at(answer, row, c->ctime, c->ctimensec),
        .length = (uint64_t)length,
        .parent = (ino_num)pg_get_int8(answer, row, c->parent),
        .access_acl = u32_at(answer, row, c->access_acl),
        .default_acl = u32_at(answer, row, c->default_acl),
        .tier = u32_at(answer, row, c->tier),
    };
    return RC_OK;
}

enum rc reply_check(const struct pg_result *answer, const char *verb, ino_num ino, struct err *e)
{
    if (pg_rows(answer) < 1)
        return err_fail(e, RC_CORRUPT, "%s of inode %llu was answered with nothing", verb,
                        (unsigned long long)ino);
    int refusal = pg_get_int4(answer, 0, pg_column(answer, "err"));
    if (refusal)
        return err_refused(e, refusal, "%s of inode %llu", verb, (unsigned long long)ino);
    return RC_OK;
}

enum rc reply_read(struct meta *meta, const struct call *call, const char *verb, ino_num ino,
                   struct node_attr *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, call, &answer, e))
        return err_note(e, "%s of inode %llu", verb, (unsigned long long)ino);
    if (reply_check(answer, verb, ino, e))
        return e->code;
    struct reply_columns columns;
    reply_columns(answer, &columns);
    return reply_attr(answer, 0, &columns, out, e);
}

/* A malformed array costs counts, which fsck repairs; the mutation itself was done. */
void reply_usage(struct meta *meta, const struct pg_result *answer)
{
    struct err e = ERR_INIT;
    auto_free int64_t *deltas = NULL;
    size_t count = 0;
    if (pg_get_int8_array(answer, 0, pg_column(answer, "usage"), &deltas, &count, &e))
        log_err(LOG_LEVEL_WARN, &e, "usage is not counted");
    else if (count >= 2)
        usage_add(&meta->usage, deltas, count);
}

enum rc reply_mutation(struct meta *meta, const struct call *call, const char *verb, ino_num ino,
                       struct node_attr *out, struct err *e)
{
    struct lane given_up = {.sid = 0};
    enum rc rc = reply_doubted(meta, &given_up, call, verb, ino, out, e);
    doubts_add(&meta->doubts, &given_up);
    return rc;
}

enum rc reply_doubted(struct meta *meta, struct lane *doubt, const struct call *call,
                      const char *verb, ino_num ino, struct node_attr *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (retry_doubted(meta, doubt, call, &answer, e))
        return err_note(e, "%s of inode %llu", verb, (unsigned long long)ino);

    struct reply_columns columns;
    reply_columns(answer, &columns);
    struct node_attr attr = {.ino = 0};
    enum rc rc = RC_OK;
    if (!pg_is_null(answer, 0, columns.ino))
        rc = reply_attr(answer, 0, &columns, &attr, e);
    reply_usage(meta, answer);
    if (out)
        *out = attr;
    return rc ? rc : reply_check(answer, verb, ino, e);
}
