#include "fs/meta/facl.h"

#include <stdlib.h>

#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

enum rc meta_acl_rule(struct meta *meta, uint32_t id, struct acl_rule **out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int4((int32_t)id)};
    *out = NULL;
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.acl_rule($1)", params), &answer, e) ||
        reply_check(answer, "access control list", id, e) ||
        acl_decode(pg_get_bytes(answer, 0, pg_column(answer, "rule")), out, e))
        return err_note(e, "access control list %u", id);
    return RC_OK;
}

static enum rc gids_param(struct buf *scratch, const struct meta_setfacl *what,
                          struct pg_param *out, struct err *e)
{
    auto_free int64_t *gids = calloc(what->caller_gid_count + 1, sizeof(*gids));
    if (!gids)
        return err_fail(e, RC_NO_SPACE, "could not list %zu groups", what->caller_gid_count);
    for (size_t i = 0; i < what->caller_gid_count; i++)
        gids[i] = what->caller_gids[i];
    buf_init(scratch, 64 + what->caller_gid_count * 12);
    return pg_int8_array(scratch, gids, what->caller_gid_count, out, e);
}

enum rc meta_setfacl(struct meta *meta, const struct meta_setfacl *what, struct node_attr *out,
                     struct err *e)
{
    auto_buf struct buf encoded, scratch = {.data = NULL};
    struct pg_param gids;
    buf_init(&encoded, ACL_BYTES_MAX);
    if ((what->rule && acl_encode(what->rule, &encoded, e)) || gids_param(&scratch, what, &gids, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->ino),
        pg_int4((int32_t)what->type),
        what->rule ? pg_bytea(buf_bytes(&encoded)) : pg_null(17 /* bytea */),
        pg_int8(what->caller_uid),
        gids,
    };
    struct call *call = CALL("SELECT * FROM tarn_1.setfacl($1,$2,$3,$4,$5,$6,$7,$8)", params);
    return reply_mutation(meta, call, "setfacl", what->ino, out, e);
}
