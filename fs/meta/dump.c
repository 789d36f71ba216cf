#include "fs/meta/dump.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/meta/dump_entry.h"
#include "fs/meta/format_edit.h"
#include "fs/meta/settings.h"

#define CALL_MS     600000
#define PIECE_BYTES ((size_t)256 << 10)
#define BUFFER_MAX  ((size_t)1 << 30) /* one file with all its chunks */
#define DEPTH_MAX   100000
#define PAGE_ROWS   256
#define DEEP_PAGE_ROWS                                                                             \
    8 /* below the depth that trees have, so that memory stays small there too                     \
       */
#define DEEP       64
#define NAME_ROOM  META_NAME_MAX
#define INDENT_MAX 256

/* A directory that is being written: the page of its entries that is held. */
struct level {
    int64_t ino;
    struct pg_result *page;
    int row, limit;
    bool has_entries; /* one was written */
    uint8_t last[NAME_ROOM];
    size_t last_size;
};

struct dump {
    struct pg *pg;
    const struct dump_options *o;
    struct dump_result *result;
    struct buf text; /* not given to the sink yet */
    struct level *levels;
    size_t depth, room;
};

/* ------------------------------------------------------------------------------------- levels */

static enum rc flush(struct dump *d, size_t at_least, struct err *e)
{
    if (d->text.size < at_least)
        return RC_OK;
    enum rc rc = d->o->sink(d->o->arg, buf_bytes(&d->text), e);
    buf_clear(&d->text);
    return rc;
}

static int indent_of(const struct dump *d)
{
    const size_t indent = 4 * d->depth;
    return indent < INDENT_MAX ? (int)indent : INDENT_MAX;
}

static enum rc push(struct dump *d, int64_t ino, struct err *e)
{
    if (d->depth == DEPTH_MAX)
        return err_fail(e, RC_INVALID, "directory %" PRId64 " is %d levels deep: a cycle?", ino,
                        DEPTH_MAX);
    if (d->depth == d->room) {
        const size_t room = d->room ? 2 * d->room : 32;
        struct level *levels = reallocarray(d->levels, room, sizeof(*levels));
        if (!levels)
            return err_fail(e, RC_NO_SPACE, "out of memory");
        d->levels = levels;
        d->room = room;
    }
    d->levels[d->depth] =
        (struct level){.ino = ino, .limit = d->depth < DEEP ? PAGE_ROWS : DEEP_PAGE_ROWS};
    d->depth++;
    return RC_OK;
}

static enum rc ask_page(struct dump *d, struct level *l, struct err *e)
{
    const struct pg_param params[] = {pg_int8(l->ino),
                                      pg_bytea((struct bytes){l->last, l->last_size}),
                                      pg_int4(l->limit), pg_null(20)};
    pg_result_free(&l->page);
    l->row = 0;
    return pg_call(d->pg, "SELECT * FROM tarn_1.dump_entries($1,$2,$3,$4)", params, 4,
                   clock_deadline(CALL_MS), &l->page, e);
}

/* ------------------------------------------------------------------------------------ entries */

static enum rc begin_object(struct dump *d, struct bytes name, struct err *e)
{
    if (buf_addf(&d->text, e, "\n%*s\"", indent_of(d) + 2, "") || dump_escape(name, &d->text, e))
        return e->code;
    return buf_add_str(&d->text, "\": {", e);
}

/* A directory's object stays open for its entries. */
static enum rc write_row(struct dump *d, const struct pg_result *page, int row,
                         const struct dump_columns *c, struct bytes name, struct err *e)
{
    const int indent = indent_of(d) + 4;
    const bool is_dir = pg_get_int4(page, row, c->type) == NODE_DIRECTORY;
    if (begin_object(d, name, e) || dump_entry(page, row, c, indent, &d->text, e))
        return e->code;
    d->result->entries++;
    if (d->o->progress)
        d->o->progress(d->o->arg, d->result->entries);
    if (!is_dir)
        return buf_addf(&d->text, e, "\n%*s}", indent - 2, "");
    if (buf_addf(&d->text, e, ",\n%*s\"entries\": {", indent, ""))
        return e->code;
    return push(d, pg_get_int8(page, row, c->inode), e);
}

static enum rc end_directory(struct dump *d, struct err *e)
{
    pg_result_free(&d->levels[d->depth - 1].page);
    d->depth--;
    const int indent = indent_of(d);
    return buf_addf(&d->text, e, "\n%*s}\n%*s}", indent + 4, "", indent + 2, "");
}

/* The next entry of a directory's page, and whatever is left out before it. */
static enum rc write_next(struct dump *d, struct level *l, struct err *e)
{
    struct dump_columns c;
    const struct pg_result *page = l->page;
    const int row = l->row++;
    dump_columns_of(page, &c);
    const struct bytes name = pg_get_bytes(page, row, c.name);
    if (name.size > NAME_ROOM)
        return err_fail(e, RC_CORRUPT, "a name in directory %" PRId64 " is too long", l->ino);
    memcpy(l->last, name.data, name.size);
    l->last_size = name.size;
    if (!pg_get_bool(page, row, c.has_node)) {
        log_warn("an entry of directory %lld names inode %lld, which does not exist; left out",
                 (long long)l->ino, (long long)pg_get_int8(page, row, c.inode));
        d->result->corrupt++;
        return RC_OK;
    }
    if (l->has_entries && buf_add_str(&d->text, ",", e))
        return e->code;
    l->has_entries = true;
    return write_row(d, page, row, &c, name, e); /* may move the levels */
}

static enum rc write_levels(struct dump *d, struct err *e)
{
    while (d->depth > 0) {
        struct level *l = &d->levels[d->depth - 1];
        enum rc rc = RC_OK;
        if (l->page && l->row < pg_rows(l->page))
            rc = write_next(d, l, e);
        else if (!l->page || pg_rows(l->page) == l->limit)
            rc = ask_page(d, l, e);
        else
            rc = end_directory(d, e);
        if (rc || flush(d, PIECE_BYTES, e))
            return e->code;
    }
    return RC_OK;
}

/* A root with all that is below it, as a member of the document. *is_there: it has a node. */
static enum rc write_tree(struct dump *d, const char *member, int64_t ino, bool *is_there,
                          struct err *e)
{
    struct dump_columns c;
    auto_result struct pg_result *page = NULL;
    const struct pg_param params[] = {pg_null(20), pg_bytea(BYTES_OF("")), pg_int4(1),
                                      pg_int8(ino)};
    if (pg_call(d->pg, "SELECT * FROM tarn_1.dump_entries($1,$2,$3,$4)", params, 4,
                clock_deadline(CALL_MS), &page, e))
        return e->code;
    dump_columns_of(page, &c);
    *is_there = pg_rows(page) == 1 && pg_get_bool(page, 0, c.has_node);
    if (!*is_there)
        return RC_OK;
    const struct bytes name = {(const uint8_t *)member, strlen(member)};
    if (buf_add_str(&d->text, ",", e) || write_row(d, page, 0, &c, name, e))
        return e->code;
    return write_levels(d, e);
}

/* ---------------------------------------------------------------------------------- the head */

static enum rc hide_secrets(struct dump *d, struct buf *row, struct err *e)
{
    static const char *const members[] = {"SecretKey", "SessionToken"};
    auto_json struct json *parsed = NULL;
    if (d->o->keep_secrets)
        return RC_OK;
    if (json_parse(buf_bytes(row), &parsed, e))
        return err_note(e, "the format row is not JSON");
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (*json_get_string(parsed, members[i], "")) {
            d->result->has_secrets = true;
            if (format_edit_string(row, members[i], "removed", e))
                return e->code;
        }
    return RC_OK;
}

static enum rc write_head(struct dump *d, bool is_whole, struct err *e)
{
    auto_buf struct buf row;
    auto_result struct pg_result *r = NULL;
    const struct pg_param params[] = {pg_bool(is_whole)};
    buf_init(&row, SETTINGS_BYTES_MAX);
    if (settings_read(d->pg, &row, clock_deadline(CALL_MS), e) || hide_secrets(d, &row, e) ||
        buf_add_str(&d->text, "{\n  \"Setting\": ", e) ||
        buf_add(&d->text, row.data, row.size, e) ||
        pg_call(d->pg, "SELECT * FROM tarn_1.dump_head($1)", params, 1, clock_deadline(CALL_MS), &r,
                e))
        return e->code;
    const int member = pg_column(r, "member"), value = pg_column(r, "value");
    for (int i = 0; i < pg_rows(r); i++)
        if (buf_addf(&d->text, e, ",\n  \"%s\": ", pg_get_text(r, i, member)) ||
            buf_add_str(&d->text, pg_get_text(r, i, value), e))
            return e->code;
    return RC_OK;
}

/* The inode of a path; the root of "" and "/". */
static enum rc resolve(struct dump *d, const char *path, int64_t *ino, struct err *e)
{
    *ino = (int64_t)META_ROOT;
    for (const char *at = path; at && *at;) {
        const size_t size = strcspn(at, "/");
        const struct bytes name = {(const uint8_t *)at, size};
        auto_result struct pg_result *r = NULL;
        const struct pg_param params[] = {pg_int8(*ino), pg_bytea(name)};
        at += size + (at[size] == '/');
        if (size == 0)
            continue;
        if (pg_call(d->pg, "SELECT * FROM tarn_1.lookup($1,$2)", params, 2, clock_deadline(CALL_MS),
                    &r, e))
            return e->code;
        if (pg_get_int4(r, 0, pg_column(r, "err")) ||
            pg_get_int4(r, 0, pg_column(r, "type")) != NODE_DIRECTORY)
            return err_fail(e, RC_NOT_FOUND, "there is no directory \"%s\"", path);
        *ino = pg_get_int8(r, 0, pg_column(r, "ino"));
    }
    return RC_OK;
}

static enum rc write_all(struct dump *d, struct err *e)
{
    int64_t root = 0;
    bool is_there = false;
    if (resolve(d, d->o->subdir, &root, e))
        return e->code;
    const bool is_whole = root == (int64_t)META_ROOT;
    if (write_head(d, is_whole, e) || write_tree(d, "FSTree", root, &is_there, e))
        return e->code;
    if (!is_there)
        return err_fail(e, RC_CORRUPT, "the volume has no root directory");
    if (is_whole && !d->o->skip_trash && write_tree(d, "Trash", (int64_t)META_TRASH, &is_there, e))
        return e->code;
    return buf_add_str(&d->text, "\n}\n", e) ? e->code : flush(d, 1, e);
}

enum rc dump_write(struct pg *pg, const struct dump_options *options, struct dump_result *out,
                   struct err *e)
{
    struct dump d = {.pg = pg, .o = options, .result = out};
    struct err ignored = ERR_INIT;
    *out = (struct dump_result){0};
    buf_init(&d.text, BUFFER_MAX);
    if (pg_script(pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", clock_deadline(CALL_MS),
                  e))
        return e->code;
    enum rc rc = write_all(&d, e);
    while (d.depth > 0)
        pg_result_free(&d.levels[--d.depth].page);
    free(d.levels);
    buf_deinit(&d.text);
    (void)!pg_script(pg, "ROLLBACK", clock_deadline(CALL_MS), &ignored);
    return rc;
}
