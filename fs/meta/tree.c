#include "fs/meta/tree.h"

#include <errno.h>
#include <string.h>

#include "fs/base/wire.h"
#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

#define CLONE_PAGE   256 /* entries cloned in one transaction */
#define PLOCK_BYTES  24
#define GIDS_MAX     65536
#define FLOCK_WRITES 'W'

/* The caller's groups as an array parameter. */
static enum rc gids_param(struct buf *scratch, const struct meta_caller *who, struct pg_param *out,
                          struct err *e)
{
    const size_t count = who->gid_count < GIDS_MAX ? who->gid_count : GIDS_MAX;
    buf_init(scratch, 64 + count * 12);
    auto_free int64_t *groups = calloc(count ? count : 1, sizeof(*groups));
    if (!groups)
        return err_fail(e, RC_NO_SPACE, "could not allocate %zu groups", count);
    for (size_t i = 0; i < count; i++)
        groups[i] = who->gids[i];
    return pg_int8_array(scratch, groups, count, out, e);
}

static enum rc inos_param(struct buf *scratch, const ino_num *inos, size_t count,
                          struct pg_param *out, struct err *e)
{
    buf_init(scratch, 64 + count * 12);
    return pg_int8_array(scratch, (const int64_t *)inos, count, out, e);
}

/* The caller's groups and a list of inodes, as parameters that live as long as this. */
struct lists {
    struct buf gids_bytes, inos_bytes;
    struct pg_param gids, inos;
};

static void lists_deinit(struct lists *l)
{
    buf_deinit(&l->gids_bytes);
    buf_deinit(&l->inos_bytes);
}

#define auto_lists __attribute__((cleanup(lists_deinit)))

/* l is to be zeros. */
static enum rc lists_fill(struct lists *l, const struct meta_caller *who, const ino_num *inos,
                          size_t count, struct err *e)
{
    return gids_param(&l->gids_bytes, who, &l->gids, e)
               ? e->code
               : inos_param(&l->inos_bytes, inos, count, &l->inos, e);
}

static enum rc take_dirs(const struct pg_result *answer, int row, const char *column,
                         struct meta_dirs *out, struct err *e)
{
    int64_t *inos = NULL;
    *out = (struct meta_dirs){NULL, 0};
    if (pg_get_int8_array(answer, row, pg_column(answer, column), &inos, &out->count, e))
        return e->code;
    out->inos = (ino_num *)inos;
    return RC_OK;
}

enum rc meta_reach(struct meta *meta, ino_num ino, ino_num root, const struct meta_caller *who,
                   struct err *e)
{
    auto_buf struct buf gids_bytes = {.data = NULL};
    struct pg_param gids;
    if (gids_param(&gids_bytes, who, &gids, e))
        return e->code;
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int8((int64_t)root), pg_int8(who->uid),
                                gids};
    auto_result struct pg_result *answer = NULL;
    struct call *call = CALL("SELECT tarn_1.reach($1,$2,$3,$4) AS reach", params);
    if (retry_read(meta, call, &answer, e))
        return err_note(e, "the way to inode %llu", (unsigned long long)ino);
    const int refusal = pg_get_int4(answer, 0, pg_column(answer, "reach"));
    return refusal ? err_refused(e, refusal, "the way to inode %llu", (unsigned long long)ino)
                   : RC_OK;
}

/* ---- remove ---- */

enum rc meta_rmr(struct meta *meta, const struct meta_rmr *what, const struct meta_caller *who,
                 uint64_t *removed, bool *is_gone, struct meta_dirs *dirs, struct err *e)
{
    auto_lists struct lists lists = {.gids_bytes = {.data = NULL}};
    if (lists_fill(&lists, who, what->opened, what->opened_count, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->parent),
        pg_int8((int64_t)what->dir),
        pg_int4((int32_t)what->limit),
        pg_int4(what->mode),
        pg_int8(who->uid),
        lists.gids,
        lists.inos,
    };
    auto_result struct pg_result *answer = NULL;
    struct call *call =
        CALL_LONG("SELECT * FROM tarn_1.rmr($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)", params);
    if (retry_mutation(meta, call, &answer, e))
        return err_note(e, "rmr of inode %llu", (unsigned long long)what->dir);
    reply_usage(meta, answer);
    if (reply_check(answer, "rmr", what->dir, e))
        return e->code;
    *removed = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "removed"));
    *is_gone = pg_get_bool(answer, 0, pg_column(answer, "is_gone"));
    return take_dirs(answer, 0, "dirs", dirs, e);
}

enum rc meta_rmr_file(struct meta *meta, const struct meta_rmr *what, struct bytes name,
                      const struct meta_caller *who, struct node_attr *out, struct err *e)
{
    auto_lists struct lists lists = {.gids_bytes = {.data = NULL}};
    if (lists_fill(&lists, who, what->opened, what->opened_count, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,         pg_int8((int64_t)what->parent),
        pg_bytea(name),    pg_int4(what->mode),
        pg_int8(who->uid), lists.gids,
        lists.inos,
    };
    struct call *call =
        CALL_LONG("SELECT * FROM tarn_1.rmr_file($1,$2,$3,$4,$5,$6,$7,$8,$9)", params);
    return reply_mutation(meta, call, "rmr", what->parent, out, e);
}

/* ---- clone ---- */

enum rc meta_clone(struct meta *meta, const struct meta_clone *what, const struct meta_caller *who,
                   struct node_attr *out, struct err *e)
{
    uint64_t ino;
    auto_buf struct buf scratch = {.data = NULL};
    struct pg_param gids;
    if (meta_check_room(meta, (int64_t)what->space, (int64_t)what->inodes, e) ||
        id_range_next(&meta->inodes, meta, &ino, e) || gids_param(&scratch, who, &gids, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->src),
        pg_int8((int64_t)what->parent),
        pg_bytea(what->name),
        pg_int8((int64_t)ino),
        pg_int4(what->mode),
        pg_int4((int32_t)what->umask),
        pg_int8(who->uid),
        gids,
        pg_int8((int64_t)what->space),
        pg_int8((int64_t)what->inodes),
    };
    struct call *call =
        CALL_LONG("SELECT * FROM tarn_1.clone($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)", params);
    return reply_mutation(meta, call, "clone", what->src, out, e);
}

/* Numbers for a page; those that are not used are lost, as at any end of a mount. */
static enum rc take_inos(struct meta *meta, ino_num *out, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (id_range_next(&meta->inodes, meta, &out[i], e))
            return e->code;
    return RC_OK;
}

static enum rc note_place(const struct pg_result *answer, struct meta_clone_at *at, struct err *e)
{
    const int last = pg_column(answer, "last");
    at->is_done = pg_get_int8(answer, 0, pg_column(answer, "seen")) < CLONE_PAGE;
    if (pg_is_null(answer, 0, last))
        return RC_OK;
    const struct bytes name = pg_get_bytes(answer, 0, last);
    if (name.size > sizeof(at->name))
        return err_fail(e, RC_CORRUPT, "a name of %zu bytes", name.size);
    memcpy(at->name, name.data, name.size);
    at->name_size = name.size;
    return RC_OK;
}

enum rc meta_clone_entries(struct meta *meta, ino_num src, ino_num dst,
                           const struct meta_clone *what, const struct meta_caller *who,
                           struct meta_clone_at *at, uint64_t *made, struct meta_dirs *dirs,
                           struct err *e)
{
    ino_num inos[CLONE_PAGE];
    auto_lists struct lists lists = {.gids_bytes = {.data = NULL}};
    if (take_inos(meta, inos, CLONE_PAGE, e) || lists_fill(&lists, who, inos, CLONE_PAGE, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)src),
        pg_int8((int64_t)dst),
        pg_bytea((struct bytes){at->name, at->name_size}),
        lists.inos,
        pg_int4(what->mode),
        pg_int4((int32_t)what->umask),
        pg_int8(who->uid),
        lists.gids,
    };
    auto_result struct pg_result *answer = NULL;
    struct call *call =
        CALL_LONG("SELECT * FROM tarn_1.clone_entries($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)", params);
    if (retry_mutation(meta, call, &answer, e))
        return err_note(e, "clone of inode %llu", (unsigned long long)src);
    reply_usage(meta, answer);
    if (reply_check(answer, "clone", src, e) || note_place(answer, at, e))
        return e->code;
    *made = (uint64_t)pg_get_int8(answer, 0, pg_column(answer, "made"));
    return take_dirs(answer, 0, "dirs", dirs, e);
}

enum rc meta_attach(struct meta *meta, ino_num ino, ino_num parent, struct bytes name,
                    struct err *e)
{
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_int8((int64_t)parent),
                                pg_bytea(name)};
    struct call *call = CALL_LONG("SELECT * FROM tarn_1.attach($1,$2,$3,$4,$5,$6)", params);
    return reply_mutation(meta, call, "attach", ino, NULL, e);
}

/* ---- sums ---- */

static enum rc visit_sums(const struct pg_result *answer, int row, meta_sums_visit visit, void *arg,
                          struct err *e)
{
    struct meta_dirs children;
    if (take_dirs(answer, row, "children", &children, e))
        return e->code;
    const struct meta_sums sums = {
        .dir = (ino_num)pg_get_int8(answer, row, pg_column(answer, "dir")),
        .files = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "files")),
        .dirs = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "folders")),
        .length = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "length")),
        .space = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "space")),
        .children = children.inos,
        .child_count = children.count,
    };
    enum rc rc = visit(&sums, arg, e);
    free(children.inos);
    return rc;
}

enum rc meta_tree_sums(struct meta *meta, const ino_num *dirs, size_t count, bool is_strict,
                       meta_sums_visit visit, void *arg, struct err *e)
{
    auto_buf struct buf scratch = {.data = NULL};
    struct pg_param params[] = {{0}, pg_bool(is_strict)};
    if (inos_param(&scratch, dirs, count, &params[0], e))
        return e->code;
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.tree_sums($1,$2)", params), &answer, e))
        return err_note(e, "could not add up %zu directories", count);
    for (int row = 0; row < pg_rows(answer); row++)
        if (visit_sums(answer, row, visit, arg, e))
            return e->code;
    return RC_OK;
}

/* ---- one inode ---- */

enum rc meta_paths(struct meta *meta, ino_num ino, uint32_t limit, meta_path_visit visit, void *arg,
                   struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino), pg_int4((int32_t)limit)};
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.paths($1,$2)", params), &answer, e))
        return err_note(e, "paths of inode %llu", (unsigned long long)ino);
    const int path = pg_column(answer, "path");
    for (int row = 0; row < pg_rows(answer); row++)
        if (visit(pg_get_bytes(answer, row, path), arg, e))
            return e->code;
    return RC_OK;
}

static enum rc visit_records(struct bytes records, struct meta_lock_row *lock,
                             meta_lock_visit visit, void *arg, struct err *e)
{
    struct wire_reader r = wire_reader(records);
    while (r.left >= PLOCK_BYTES) {
        lock->is_write = wire_read_u32(&r) != 0;
        lock->pid = wire_read_u32(&r);
        lock->start = wire_read_u64(&r);
        lock->end = wire_read_u64(&r);
        if (visit(lock, arg, e))
            return e->code;
    }
    return RC_OK;
}

enum rc meta_locks(struct meta *meta, ino_num ino, meta_lock_visit visit, void *arg, struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    auto_result struct pg_result *answer = NULL;
    if (retry_read(meta, CALL_LONG("SELECT * FROM tarn_1.locks_of($1)", params), &answer, e))
        return err_note(e, "locks of inode %llu", (unsigned long long)ino);
    const int kind = pg_column(answer, "kind"), records = pg_column(answer, "records");
    for (int row = 0; row < pg_rows(answer); row++) {
        struct meta_lock_row lock = {
            .sid = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "sid")),
            .owner = (uint64_t)pg_get_int8(answer, row, pg_column(answer, "owner")),
            .is_flock = !pg_is_null(answer, row, kind),
        };
        lock.is_write = lock.is_flock && pg_get_int4(answer, row, kind) == FLOCK_WRITES;
        enum rc rc = lock.is_flock
                         ? visit(&lock, arg, e)
                         : visit_records(pg_get_bytes(answer, row, records), &lock, visit, arg, e);
        if (rc)
            return rc;
    }
    return RC_OK;
}
