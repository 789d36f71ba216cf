#include "fs/meta/load_entry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/wire.h"
#include "fs/meta/acl.h"
#include "fs/meta/dump.h"

#define RECORD_BYTES      24
#define CHUNK_RECORDS_MAX ((size_t)1 << 20)

static const struct {
    const char *name;
    enum node_type type;
} types[] = {
    {"regular", NODE_FILE},  {"directory", NODE_DIRECTORY}, {"symlink", NODE_SYMLINK},
    {"fifo", NODE_FIFO},     {"blockdev", NODE_BLOCK},      {"chardev", NODE_CHAR},
    {"socket", NODE_SOCKET},
};

static enum rc read_type(const struct json *attr, enum node_type *out, struct err *e)
{
    const char *name = json_get_string(attr, "type", "");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcmp(types[i].name, name) == 0) {
            *out = types[i].type;
            return RC_OK;
        }
    return err_fail(e, RC_INVALID, "\"%s\" is no type of an inode", name);
}

/* A number that has to be within 0…max; RC_INVALID names it. */
static enum rc read_number(const struct json *from, const char *name, int64_t max, int64_t *out,
                           struct err *e)
{
    *out = json_get_int(from, name, 0);
    if (*out < 0 || *out > max)
        return err_fail(e, RC_INVALID, "\"%s\" is %" PRId64 ", which cannot be", name, *out);
    return RC_OK;
}

static enum rc read_u32(const struct json *from, const char *name, uint32_t *out, struct err *e)
{
    int64_t number = 0;
    if (read_number(from, name, UINT32_MAX, &number, e))
        return e->code;
    *out = (uint32_t)number;
    return RC_OK;
}

/* Stock clients write what is left of a time before 1970 as a negative number without its sign. */
static enum rc read_time(const struct json *from, const char *seconds, const char *nanoseconds,
                         struct timespec *out, struct err *e)
{
    int64_t nsec = 0;
    if (read_number(from, nanoseconds, UINT32_MAX, &nsec, e))
        return e->code;
    const bool is_negative = nsec > INT32_MAX;
    if (is_negative)
        nsec += (int64_t)1000000000 - ((int64_t)UINT32_MAX + 1);
    if (nsec < 0 || nsec > 999999999)
        return err_fail(e, RC_INVALID, "\"%s\" is no number of nanoseconds", nanoseconds);
    out->tv_sec = json_get_int(from, seconds, 0) - is_negative;
    out->tv_nsec = nsec;
    if (out->tv_sec > INT64_MAX / 2000000 || out->tv_sec < INT64_MIN / 2000000)
        return err_fail(e, RC_INVALID, "\"%s\" is out of range", seconds);
    return RC_OK;
}

enum rc load_entry_attr(const struct json *attr, struct node_attr *out, struct err *e)
{
    int64_t ino = 0, length = 0;
    if (read_type(attr, &out->type, e) || read_number(attr, "inode", INT64_MAX, &ino, e) ||
        read_number(attr, "length", (int64_t)META_LENGTH_MAX, &length, e) ||
        read_u32(attr, "flags", &out->flags, e) || read_u32(attr, "mode", &out->mode, e) ||
        read_u32(attr, "uid", &out->uid, e) || read_u32(attr, "gid", &out->gid, e) ||
        read_u32(attr, "rdev", &out->rdev, e) || read_u32(attr, "tier", &out->tier, e) ||
        read_time(attr, "atime", "atimensec", &out->atime, e) ||
        read_time(attr, "mtime", "mtimensec", &out->mtime, e) ||
        read_time(attr, "ctime", "ctimensec", &out->ctime, e))
        return e->code;
    if (ino < 1)
        return err_fail(e, RC_INVALID, "an inode has no number");
    out->ino = (ino_num)ino;
    out->mode &= 07777;
    out->length = out->type == NODE_FILE        ? (uint64_t)length
                  : out->type == NODE_DIRECTORY ? 4096
                                                : 0;
    return RC_OK;
}

static uint32_t entries_of(const struct json *list, struct acl_entry *into)
{
    const size_t count = list ? json_length(list) : 0;
    for (size_t i = 0; i < count; i++)
        into[i] = (struct acl_entry){.id = (uint32_t)json_get_int(json_at(list, i), "id", 0),
                                     .bits = (uint16_t)json_get_int(json_at(list, i), "perm", 0)};
    return (uint32_t)count;
}

enum rc load_entry_acl(const struct json *acl, struct buf *out, struct err *e)
{
    const struct json *users = json_get(acl, "users"), *groups = json_get(acl, "groups");
    const size_t count = (users ? json_length(users) : 0) + (groups ? json_length(groups) : 0);
    if (count > ACL_ENTRIES_MAX)
        return err_fail(e, RC_INVALID, "a list of access rights has %zu entries", count);
    auto_free struct acl_rule *rule = calloc(1, sizeof(*rule) + count * sizeof(struct acl_entry));
    if (!rule)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    rule->owner = (uint16_t)json_get_int(acl, "owner", 0);
    rule->group = (uint16_t)json_get_int(acl, "group", 0);
    rule->mask = (uint16_t)json_get_int(acl, "mask", ACL_UNSET);
    rule->other = (uint16_t)json_get_int(acl, "other", 0);
    rule->user_count = entries_of(users, rule->entries);
    rule->group_count = entries_of(groups, rule->entries + rule->user_count);
    return acl_encode(rule, out, e);
}

enum rc load_entry_xattrs(const struct json *xattrs, ino_num ino, struct load *load, struct err *e)
{
    for (size_t i = 0; i < json_length(xattrs); i++) {
        const struct json *x = json_at(xattrs, i);
        const char *name = json_get_string(x, "name", ""), *text = json_get_string(x, "value", "");
        auto_buf struct buf value;
        buf_init(&value, META_XATTR_MAX);
        if (!*name)
            return err_fail(e, RC_INVALID, "an extended attribute has no name");
        if (dump_unescape((struct bytes){(const uint8_t *)text, strlen(text)}, &value, e) ||
            load_xattr(load, ino, (struct bytes){(const uint8_t *)name, strlen(name)},
                       buf_bytes(&value), e))
            return err_note(e, "extended attribute \"%s\"", name);
    }
    return RC_OK;
}

/* A record as format §7.1 has it; one that reaches out of its chunk would be unreadable. */
static enum rc add_record(const struct json *slice, struct buf *out, struct err *e)
{
    uint32_t pos = 0, size = 0, off = 0, len = 0;
    int64_t id = 0;
    uint8_t record[RECORD_BYTES];
    const char *key = json_get_int(slice, "id", 0) ? "id" : "chunkid"; /* before 1.0 */
    if (read_u32(slice, "pos", &pos, e) || read_u32(slice, "size", &size, e) ||
        read_u32(slice, "off", &off, e) || read_u32(slice, "len", &len, e) ||
        read_number(slice, key, INT64_MAX, &id, e))
        return e->code;
    if (len > META_CHUNK_BYTES || pos > META_CHUNK_BYTES - len ||
        (id && (size > META_CHUNK_BYTES || len > size || off > size - len)))
        return err_fail(e, RC_INVALID, "slice %" PRId64 " does not fit into its chunk", id);
    wire_put_u32(record, pos);
    wire_put_u64(record + 4, (uint64_t)id);
    wire_put_u32(record + 12, size);
    wire_put_u32(record + 16, off);
    wire_put_u32(record + 20, len);
    return buf_add(out, record, sizeof(record), e);
}

enum rc load_entry_chunk(const struct json *chunk, ino_num ino, struct load *load, struct err *e)
{
    int64_t indx = 0;
    auto_buf struct buf records;
    const struct json *slices = json_get(chunk, "slices");
    const size_t count = slices ? json_length(slices) : 0;
    buf_init(&records, CHUNK_RECORDS_MAX * RECORD_BYTES);
    if (read_number(chunk, "index", INT32_MAX, &indx, e))
        return e->code;
    for (size_t i = 0; i < count; i++)
        if (add_record(json_at(slices, i), &records, e))
            return err_note(e, "inode %" PRIu64 " chunk %" PRId64, ino, indx);
    if (count == 0)
        return RC_OK;
    return load_chunk(load, ino, (uint32_t)indx, buf_bytes(&records), e);
}
