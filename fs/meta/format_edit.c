#include "fs/meta/format_edit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/json.h"

#define VALUE_BYTES_MAX ((size_t)256 << 10)

/* The order in which stock clients write members. */
static const char *const order[] = {
    "Name",          "UUID",           "Storage",          "StorageClass",
    "Tiers",         "Bucket",         "AccessKey",        "SecretKey",
    "SessionToken",  "BlockSize",      "Compression",      "Shards",
    "HashPrefix",    "Capacity",       "Inodes",           "EncryptKey",
    "EncryptAlgo",   "KeyEncrypted",   "UploadLimit",      "DownloadLimit",
    "TrashDays",     "MetaVersion",    "MinClientVersion", "MaxClientVersion",
    "DirStats",      "UserGroupQuota", "EnableACL",        "RangerRestUrl",
    "RangerService", "ChangeLog",      "ChangeLogMaxAge",  "ChangeLogMaxLines",
    "KerbConf",
};
#define ORDER_COUNT (sizeof(order) / sizeof(order[0]))

/* Where a member of the row stands: its name with quotes, its value, the byte after that. */
struct member {
    size_t name, name_size, value, end;
};

/* A walk along the members of an object that is known to be well-formed. */
struct walk {
    const char *text;
    size_t at, size;
};

static void skip_space(struct walk *w)
{
    while (w->at < w->size && strchr(" \t\r\n", w->text[w->at]))
        w->at++;
}

static void skip_string(struct walk *w)
{
    for (w->at++; w->at < w->size && w->text[w->at] != '"'; w->at++)
        if (w->text[w->at] == '\\')
            w->at++;
    w->at++;
}

/* A scalar ends before what follows it, an object or array behind its bracket. */
static void skip_value(struct walk *w)
{
    int depth = 0;
    while (w->at < w->size) {
        const char c = w->text[w->at];
        if (depth == 0 && strchr(",}] \t\r\n", c))
            return;
        if (c == '"') {
            skip_string(w);
        } else {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            w->at++;
        }
        if (depth == 0 && strchr("\"}]", c))
            return;
    }
}

static bool next_member(struct walk *w, struct member *out)
{
    skip_space(w);
    if (w->at < w->size && strchr("{,", w->text[w->at]))
        w->at++;
    skip_space(w);
    if (w->at >= w->size || w->text[w->at] != '"')
        return false;
    out->name = w->at;
    skip_string(w);
    out->name_size = w->at - out->name;
    skip_space(w);
    w->at++; /* the colon */
    skip_space(w);
    out->value = w->at;
    skip_value(w);
    out->end = w->at;
    return true;
}

static bool is_named(const struct walk *w, const struct member *m, const char *name)
{
    return m->name_size == strlen(name) + 2 &&
           memcmp(w->text + m->name + 1, name, m->name_size - 2) == 0;
}

static struct walk walk_of(const struct buf *row)
{
    return (struct walk){(const char *)row->data, 0, row->size};
}

static bool find(const struct buf *row, const char *name, struct member *out)
{
    struct walk w = walk_of(row);
    while (next_member(&w, out))
        if (is_named(&w, out, name))
            return true;
    return false;
}

/* The rank of a member among those that stock clients write; unknown ones stay where they are. */
static int rank_of(const struct walk *w, const struct member *m)
{
    for (size_t i = 0; i < ORDER_COUNT; i++)
        if (is_named(w, m, order[i]))
            return (int)i;
    return -1;
}

/* Behind which byte a new member goes: the last one that comes before it in the order. */
static size_t place_for(const struct buf *row, const char *name, bool *is_first)
{
    struct walk w = walk_of(row);
    struct member m;
    size_t place = 0;
    size_t rank = 0;
    while (rank < ORDER_COUNT && strcmp(order[rank], name) != 0)
        rank++;
    *is_first = true;
    while (next_member(&w, &m))
        if (rank_of(&w, &m) < (int)rank) {
            place = m.end;
            *is_first = false;
        }
    if (*is_first)
        place = (size_t)((const uint8_t *)memchr(row->data, '{', row->size) - row->data) + 1;
    return place;
}

static enum rc check_row(const struct buf *row, struct err *e)
{
    auto_json struct json *parsed = NULL;
    if (json_parse(buf_bytes(row), &parsed, e))
        return err_note(e, "the format row is not JSON");
    if (json_kind(parsed) != JSON_KIND_OBJECT)
        return err_fail(e, RC_INVALID, "the format row is no JSON object");
    return RC_OK;
}

/* Replace the bytes from begin to end. */
static enum rc splice(struct buf *row, size_t begin, size_t end, struct bytes by, struct err *e)
{
    if (by.size > end - begin && buf_reserve(row, by.size - (end - begin), e))
        return e->code;
    memmove(row->data + begin + by.size, row->data + end, row->size - end);
    memcpy(row->data + begin, by.data, by.size);
    row->size = row->size - (end - begin) + by.size;
    return RC_OK;
}

static enum rc add_member(struct buf *row, const char *name, struct bytes value, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, VALUE_BYTES_MAX);
    bool is_first;
    struct member any;
    struct walk w = walk_of(row);
    const bool is_empty = !next_member(&w, &any);
    const size_t place = place_for(row, name, &is_first);
    if (buf_addf(&text, e, "%s\n\"%s\": ", is_first ? "" : ",", name) ||
        buf_add(&text, value.data, value.size, e) ||
        buf_add_str(&text, is_first && !is_empty ? "," : "", e))
        return e->code;
    return splice(row, place, place, buf_bytes(&text), e);
}

static enum rc set(struct buf *row, const char *name, struct bytes value, struct err *e)
{
    struct member m;
    if (check_row(row, e))
        return e->code;
    if (find(row, name, &m))
        return splice(row, m.value, m.end, value, e);
    return add_member(row, name, value, e);
}

enum rc format_edit_string(struct buf *row, const char *name, const char *value, struct err *e)
{
    /* The writer of JSON escapes: {"x":"…"} without what surrounds the string. */
    static const size_t before = sizeof("{\"x\":") - 1, after = sizeof("}") - 1;
    auto_buf struct buf text;
    buf_init(&text, VALUE_BYTES_MAX);
    auto_json struct json *o = json_object_new();
    if (!o)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(o, "x", value, e) || json_write(o, JSON_COMPACT, &text, e))
        return e->code;
    const struct bytes quoted = {text.data + before, text.size - before - after};
    return set(row, name, quoted, e);
}

enum rc format_edit_int(struct buf *row, const char *name, int64_t value, struct err *e)
{
    char text[32];
    const int size = snprintf(text, sizeof(text), "%" PRId64, value);
    return set(row, name, (struct bytes){(const uint8_t *)text, (size_t)size}, e);
}

enum rc format_edit_bool(struct buf *row, const char *name, bool value, struct err *e)
{
    return set(row, name, value ? BYTES_OF("true") : BYTES_OF("false"), e);
}

enum rc format_edit_remove(struct buf *row, const char *name, struct err *e)
{
    struct walk w = walk_of(row);
    struct member m, next;
    size_t previous_end = 0; /* 0: it is the first */
    if (check_row(row, e))
        return e->code;
    for (;;) {
        if (!next_member(&w, &m))
            return RC_OK;
        if (is_named(&w, &m, name))
            break;
        previous_end = m.end;
    }
    if (previous_end)
        return splice(row, previous_end, m.end, (struct bytes){row->data, 0}, e);
    const size_t end = next_member(&w, &next) ? next.name : m.end;
    return splice(row, m.name, end, (struct bytes){row->data, 0}, e);
}
