#include "fs/meta/namespace.h"

#include <errno.h>
#include <string.h>

#include "fs/meta/handle.h"
#include "fs/meta/reply.h"

#define DIRECTORY_BYTES 4096

static const char trash_name[] = ".trash";

static bool is_name(struct bytes name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.data, text, name.size) == 0;
}

static enum rc check_name(struct bytes name, struct err *e)
{
    if (name.size > META_NAME_MAX)
        return err_refused(e, ENAMETOOLONG, "a name of %zu bytes", name.size);
    if (name.size == 0 || memchr(name.data, '/', name.size) || memchr(name.data, 0, name.size) ||
        is_name(name, ".") || is_name(name, ".."))
        return err_refused(e, EINVAL, "not a name: \"%.*s\"", (int)name.size,
                           (const char *)name.data);
    return RC_OK;
}

/* The trash has a name but no edge: the root's ".trash" can be neither made nor removed. */
static enum rc check_change(ino_num parent, struct bytes name, struct err *e)
{
    if (check_name(name, e))
        return e->code;
    if (parent == META_ROOT && is_name(name, trash_name))
        return err_refused(e, EPERM, "\"%s\" is the trash", trash_name);
    return RC_OK;
}

enum rc meta_lookup(struct meta *meta, ino_num parent, struct bytes name, struct node_attr *out,
                    struct err *e)
{
    if (check_name(name, e))
        return e->code;
    if (parent == META_ROOT && is_name(name, trash_name)) {
        struct pg_param params[] = {pg_int8((int64_t)META_TRASH)};
        return reply_read(meta, CALL("SELECT * FROM tarn_1.getattr($1)", params), "lookup", parent,
                          out, e);
    }
    struct pg_param params[] = {pg_int8((int64_t)parent), pg_bytea(name)};
    return reply_read(meta, CALL("SELECT * FROM tarn_1.lookup($1,$2)", params), "lookup", parent,
                      out, e);
}

enum rc meta_resolve(struct meta *meta, ino_num root, struct bytes path, struct node_attr *out,
                     struct err *e)
{
    struct pg_param params[] = {pg_int8((int64_t)root), pg_bytea(path)};
    enum rc rc = reply_read(meta, CALL("SELECT * FROM tarn_1.resolve($1,$2)", params), "resolve",
                            root, out, e);
    if (rc != RC_REFUSED)
        return rc;
    return err_refused(e, e->posix, "\"%.*s\"", (int)path.size, (const char *)path.data);
}

/* Where the columns of a directory page stand, beside those of the attributes. */
struct page_columns {
    struct reply_columns attr;
    int name;
};

/* An entry without node is listed with its type: a name that can at least be removed. */
static enum rc read_entry(const struct pg_result *page, int row, const struct page_columns *columns,
                          bool with_attr, struct dir_entry *out, struct err *e)
{
    struct bytes name = pg_get_bytes(page, row, columns->name);
    int64_t ino = pg_get_int8(page, row, columns->attr.ino);
    int32_t type = pg_get_int4(page, row, columns->attr.type);
    if (name.size == 0 || name.size > META_NAME_MAX || ino <= 0 || type < NODE_FILE ||
        type > NODE_SOCKET)
        return err_fail(e, RC_CORRUPT, "a directory entry has a name of %zu bytes and type %d",
                        name.size, type);
    memcpy(out->name, name.data, name.size);
    out->name_size = (uint8_t)name.size;
    out->has_attr = with_attr && !pg_is_null(page, row, columns->attr.mode);
    if (out->has_attr)
        return reply_attr(page, row, &columns->attr, &out->attr, e);
    out->attr = (struct node_attr){.ino = (ino_num)ino, .type = (enum node_type)type};
    return RC_OK;
}

enum rc meta_readdir(struct meta *meta, ino_num dir, struct bytes after, bool with_attr,
                     struct dir_entry *out, uint32_t *count, struct err *e)
{
    auto_result struct pg_result *page = NULL;
    struct pg_param params[] = {pg_int8((int64_t)dir), pg_bytea(after), pg_int4((int32_t)*count),
                                pg_bool(with_attr)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.readdir($1,$2,$3,$4)", params), &page, e))
        return err_note(e, "readdir of inode %llu", (unsigned long long)dir);
    if (pg_rows(page) > 0 && reply_check(page, "readdir", dir, e))
        return e->code;
    if ((uint32_t)pg_rows(page) > *count)
        return err_fail(e, RC_CORRUPT, "readdir gave more entries than were asked for");

    struct page_columns columns = {.name = pg_column(page, "name")};
    reply_columns(page, &columns.attr);
    for (int row = 0; row < pg_rows(page); row++)
        if (read_entry(page, row, &columns, with_attr, &out[row], e))
            return err_note(e, "readdir of inode %llu", (unsigned long long)dir);
    *count = (uint32_t)pg_rows(page);
    return RC_OK;
}

enum rc meta_create(struct meta *meta, const struct meta_create *what, struct node_attr *out,
                    struct err *e)
{
    uint64_t ino;
    if (check_change(what->parent, what->name, e) || meta_check_room(meta, DIRECTORY_BYTES, 1, e) ||
        id_range_next(&meta->inodes, meta, &ino, e))
        return e->code;
    if (what->target.size > META_SYMLINK_MAX)
        return err_refused(e, ENAMETOOLONG, "a symlink target of %zu bytes", what->target.size);
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->parent),
        pg_bytea(what->name),
        pg_int8((int64_t)ino),
        pg_int4((int32_t)what->type),
        pg_int4((int32_t)what->mode),
        pg_int4((int32_t)what->umask),
        pg_int8(what->uid),
        pg_int8(what->gid),
        pg_int8(what->rdev),
        pg_bytea(what->target),
    };
    struct call *call =
        CALL("SELECT * FROM tarn_1.create($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)", params);
    return reply_mutation(meta, call, "create", what->parent, out, e);
}

enum rc meta_tmpfile(struct meta *meta, const struct meta_create *what, struct node_attr *out,
                     struct err *e)
{
    uint64_t ino;
    if (meta_check_room(meta, DIRECTORY_BYTES, 1, e) || id_range_next(&meta->inodes, meta, &ino, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,
        pg_int8((int64_t)what->parent),
        pg_int8((int64_t)ino),
        pg_int4((int32_t)what->mode),
        pg_int4((int32_t)what->umask),
        pg_int8(what->uid),
        pg_int8(what->gid),
    };
    struct call *call = CALL("SELECT * FROM tarn_1.tmpfile($1,$2,$3,$4,$5,$6,$7,$8,$9)", params);
    return reply_mutation(meta, call, "tmpfile", what->parent, out, e);
}

/* The opened inodes as an array. Their number is bounded by the mount's open files. */
static enum rc opened_param(struct buf *scratch, const ino_num *opened, size_t count,
                            struct pg_param *out, struct err *e)
{
    buf_init(scratch, 64 + count * 12);
    return pg_int8_array(scratch, (const int64_t *)opened, count, out, e);
}

enum rc meta_unlink(struct meta *meta, ino_num parent, struct bytes name, const ino_num *opened,
                    size_t opened_count, uint32_t uid, struct node_attr *out, struct err *e)
{
    auto_buf struct buf scratch = {.data = NULL};
    struct pg_param inodes;
    if (check_change(parent, name, e) || opened_param(&scratch, opened, opened_count, &inodes, e))
        return e->code;
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)parent), pg_bytea(name), pg_int8(uid),
                                inodes};
    struct call *call = CALL("SELECT * FROM tarn_1.unlink($1,$2,$3,$4,$5,$6,$7)", params);
    return reply_mutation(meta, call, "unlink", parent, out, e);
}

enum rc meta_rmdir(struct meta *meta, ino_num parent, struct bytes name, uint32_t uid,
                   struct node_attr *out, struct err *e)
{
    if (check_change(parent, name, e))
        return e->code;
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)parent), pg_bytea(name), pg_int8(uid)};
    struct call *call = CALL("SELECT * FROM tarn_1.rmdir($1,$2,$3,$4,$5,$6)", params);
    if (reply_mutation(meta, call, "rmdir", parent, out, e))
        return e->code;
    usage_forget(&meta->usage, out->ino);
    return RC_OK;
}

enum rc meta_rename(struct meta *meta, ino_num parent, struct bytes name, ino_num new_parent,
                    struct bytes new_name, uint32_t flags, const ino_num *opened,
                    size_t opened_count, uint32_t uid, struct node_attr *out, struct err *e)
{
    auto_buf struct buf scratch = {.data = NULL};
    struct pg_param inodes;
    if (check_change(parent, name, e) || check_change(new_parent, new_name, e) ||
        opened_param(&scratch, opened, opened_count, &inodes, e))
        return e->code;
    struct pg_param params[] = {
        CALL_LANE,          pg_int8((int64_t)parent), pg_bytea(name), pg_int8((int64_t)new_parent),
        pg_bytea(new_name), pg_int4((int32_t)flags),  pg_int8(uid),   inodes,
    };
    struct call *call = CALL("SELECT * FROM tarn_1.rename($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)", params);
    return reply_mutation(meta, call, "rename", parent, out, e);
}

enum rc meta_link(struct meta *meta, ino_num ino, ino_num parent, struct bytes name,
                  struct node_attr *out, struct err *e)
{
    if (check_change(parent, name, e))
        return e->code;
    struct pg_param params[] = {CALL_LANE, pg_int8((int64_t)ino), pg_int8((int64_t)parent),
                                pg_bytea(name)};
    struct call *call = CALL("SELECT * FROM tarn_1.link($1,$2,$3,$4,$5,$6)", params);
    return reply_mutation(meta, call, "link", ino, out, e);
}

enum rc meta_readlink(struct meta *meta, ino_num ino, struct buf *out, struct err *e)
{
    auto_result struct pg_result *answer = NULL;
    struct pg_param params[] = {pg_int8((int64_t)ino)};
    if (retry_read(meta, CALL("SELECT * FROM tarn_1.readlink($1)", params), &answer, e))
        return err_note(e, "readlink of inode %llu", (unsigned long long)ino);
    if (reply_check(answer, "readlink", ino, e))
        return e->code;
    struct bytes target = pg_get_bytes(answer, 0, pg_column(answer, "target"));
    return buf_add(out, target.data, target.size, e);
}
