#include "fs/meta/quota.h"

#include "fs/meta/reply.h"
#include "fs/meta/retry.h"

#define OID_INT4 23
#define OID_INT8 20

static struct pg_param limit_param(int64_t limit)
{
    return limit == QUOTA_UNCHANGED ? pg_null(OID_INT8) : pg_int8(limit);
}

/* A change that may be made twice. */
static enum rc change(struct meta *meta, const struct call *call, const char *verb, uint64_t key,
                      struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, call, &answer, e))
        return err_note(e, "%s", verb);
    int refusal = pg_get_int4(answer, 0, pg_column(answer, "err"));
    return refusal ? err_refused(e, refusal, "%s of %llu", verb, (unsigned long long)key) : RC_OK;
}

enum rc meta_quota_set(struct meta *meta, enum quota_type type, uint64_t key, int64_t max_space,
                       int64_t max_inodes, struct err *e)
{
    struct pg_param params[] = {pg_int4((int32_t)type), pg_int8((int64_t)key),
                                limit_param(max_space), limit_param(max_inodes)};
    return change(meta, CALL_LONG("SELECT * FROM tarn_1.quota_set($1,$2,$3,$4)", params),
                  "setting the quota", key, e);
}

enum rc meta_quota_delete(struct meta *meta, enum quota_type type, uint64_t key, struct err *e)
{
    struct pg_param params[] = {pg_int4((int32_t)type), pg_int8((int64_t)key)};
    return change(meta, CALL("SELECT * FROM tarn_1.quota_delete($1,$2)", params),
                  "deleting the quota", key, e);
}

enum rc meta_quota_repair(struct meta *meta, enum quota_type type, uint64_t key, struct err *e)
{
    struct pg_param params[] = {pg_int4((int32_t)type), pg_int8((int64_t)key)};
    return change(meta, CALL_LONG("SELECT * FROM tarn_1.quota_repair($1,$2)", params),
                  "repairing the quota", key, e);
}

/* Numbers of a row by column name; one that the answer does not have is 0. */
static int64_t number(const struct pg_result *r, int row, const char *name)
{
    const int column = pg_column(r, name);
    return column < 0 ? 0 : pg_get_int8(r, row, column);
}

static enum rc visit_rows(const struct pg_result *r, quota_visit visit, void *arg, struct err *e)
{
    const int type = pg_column(r, "type");
    for (int row = 0; row < pg_rows(r); row++) {
        const struct quota quota = {
            .type = (enum quota_type)pg_get_int4(r, row, type),
            .key = (uint64_t)number(r, row, "key"),
            .max_space = number(r, row, "max_space"),
            .max_inodes = number(r, row, "max_inodes"),
            .used_space = number(r, row, "used_space"),
            .used_inodes = number(r, row, "used_inodes"),
            .real_space = number(r, row, "real_space"),
            .real_inodes = number(r, row, "real_inodes"),
        };
        if (visit(&quota, arg, e))
            return e->code;
    }
    return RC_OK;
}

enum rc meta_quotas(struct meta *meta, enum quota_type type, uint64_t key, quota_visit visit,
                    void *arg, struct err *e)
{
    const bool is_any = type == QUOTA_ANY;
    struct pg_param params[] = {is_any ? pg_null(OID_INT4) : pg_int4((int32_t)type),
                                is_any ? pg_null(OID_INT8) : pg_int8((int64_t)key)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.quotas($1,$2)", params), &r, e))
        return err_note(e, "could not read the quotas");
    return visit_rows(r, visit, arg, e);
}

enum rc meta_quota_counts(struct meta *meta, enum quota_type type, uint64_t key, quota_visit visit,
                          void *arg, struct err *e)
{
    struct pg_param params[] = {pg_int4((int32_t)type), pg_int8((int64_t)key)};
    auto_result struct pg_result *r = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.quota_counts($1,$2)", params), &r, e))
        return err_note(e, "could not count what the quotas are about");
    return visit_rows(r, visit, arg, e);
}
