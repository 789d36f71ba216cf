#include "fs/meta/dump_entry.h"

#include <inttypes.h>
#include <string.h>

#include "fs/base/json.h"
#include "fs/base/wire.h"
#include "fs/meta/slice.h"

#define SLICE_BYTES     24
#define ACL_ENTRY_BYTES 6

static const char *const type_names[] = {
    [NODE_FILE] = "regular",  [NODE_DIRECTORY] = "directory", [NODE_SYMLINK] = "symlink",
    [NODE_FIFO] = "fifo",     [NODE_BLOCK] = "blockdev",      [NODE_CHAR] = "chardev",
    [NODE_SOCKET] = "socket",
};

void dump_columns_of(const struct pg_result *page, struct dump_columns *out)
{
    *out = (struct dump_columns){
        .name = pg_column(page, "name"),
        .inode = pg_column(page, "inode"),
        .type = pg_column(page, "type"),
        .has_node = pg_column(page, "has_node"),
        .flags = pg_column(page, "flags"),
        .mode = pg_column(page, "mode"),
        .uid = pg_column(page, "uid"),
        .gid = pg_column(page, "gid"),
        .atime = pg_column(page, "atime"),
        .mtime = pg_column(page, "mtime"),
        .ctime = pg_column(page, "ctime"),
        .atimensec = pg_column(page, "atimensec"),
        .mtimensec = pg_column(page, "mtimensec"),
        .ctimensec = pg_column(page, "ctimensec"),
        .nlink = pg_column(page, "nlink"),
        .length = pg_column(page, "length"),
        .rdev = pg_column(page, "rdev"),
        .tier = pg_column(page, "tier"),
        .target = pg_column(page, "target"),
        .xattrs = pg_column(page, "xattrs"),
        .chunks = pg_column(page, "chunks"),
        .access_acl = pg_column(page, "access_acl"),
        .default_acl = pg_column(page, "default_acl"),
    };
}

/* ,"name":number, unless it is zero. */
static enum rc add_nonzero(struct buf *out, const char *name, int64_t number, struct err *e)
{
    return number ? buf_addf(out, e, ",\"%s\":%" PRId64, name, number) : RC_OK;
}

/* Seconds, rounded down, and what is left over in nanoseconds. */
static int64_t seconds_of(int64_t us)
{
    return us / 1000000 - (us % 1000000 < 0);
}

static enum rc add_time(struct buf *out, const char *name, int64_t us, struct err *e)
{
    return buf_addf(out, e, ",\"%s\":%" PRId64, name, seconds_of(us));
}

static enum rc add_nanoseconds(struct buf *out, const char *name, int64_t us, int32_t nsec,
                               struct err *e)
{
    return add_nonzero(out, name, (us - seconds_of(us) * 1000000) * 1000 + nsec, e);
}

static enum rc add_attr(const struct pg_result *page, int row, const struct dump_columns *c,
                        struct buf *out, struct err *e)
{
    const int type = pg_get_int4(page, row, c->type);
    const int64_t length = type == NODE_FILE ? pg_get_int8(page, row, c->length) : 0;
    const int64_t atime = pg_get_int8(page, row, c->atime);
    const int64_t mtime = pg_get_int8(page, row, c->mtime);
    const int64_t ctime = pg_get_int8(page, row, c->ctime);
    if (type < NODE_FILE || type > NODE_SOCKET)
        return err_fail(e, RC_CORRUPT, "inode %" PRId64 " has type %d",
                        pg_get_int8(page, row, c->inode), type);
    if (buf_addf(out, e, "\"attr\": {\"inode\":%" PRId64, pg_get_int8(page, row, c->inode)) ||
        add_nonzero(out, "flags", pg_get_int4(page, row, c->flags), e) ||
        buf_addf(out, e, ",\"type\":\"%s\",\"mode\":%d,\"uid\":%" PRId64 ",\"gid\":%" PRId64,
                 type_names[type], pg_get_int4(page, row, c->mode), pg_get_int8(page, row, c->uid),
                 pg_get_int8(page, row, c->gid)) ||
        add_time(out, "atime", atime, e) || add_time(out, "mtime", mtime, e) ||
        add_time(out, "ctime", ctime, e) ||
        add_nanoseconds(out, "atimensec", atime, pg_get_int4(page, row, c->atimensec), e) ||
        add_nanoseconds(out, "mtimensec", mtime, pg_get_int4(page, row, c->mtimensec), e) ||
        add_nanoseconds(out, "ctimensec", ctime, pg_get_int4(page, row, c->ctimensec), e) ||
        buf_addf(out, e, ",\"nlink\":%d,\"length\":%" PRId64, pg_get_int4(page, row, c->nlink),
                 length) ||
        add_nonzero(out, "rdev", pg_get_int8(page, row, c->rdev), e) ||
        add_nonzero(out, "tier", pg_get_int4(page, row, c->tier), e))
        return e->code;
    return buf_add_str(out, "}", e);
}

static enum rc begin_member(struct buf *out, int indent, const char *name, struct err *e)
{
    return buf_addf(out, e, ",\n%*s\"%s\": ", indent, "", name);
}

static enum rc add_symlink(struct bytes target, int indent, struct buf *out, struct err *e)
{
    if (begin_member(out, indent, "symlink", e) || buf_add_str(out, "\"", e) ||
        dump_escape(target, out, e))
        return e->code;
    return buf_add_str(out, "\"", e);
}

/* A name is text, which JSON itself escapes. */
static enum rc add_xattr(struct bytes name, struct bytes value, struct buf *out, struct err *e)
{
    auto_json struct json *o = json_object_new();
    if (!o)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_bytes(o, "name", name, e) || json_write(o, JSON_COMPACT, out, e))
        return e->code;
    out->size--; /* the brace, for there is more */
    if (buf_add_str(out, ",\"value\":\"", e) || dump_escape(value, out, e))
        return e->code;
    return buf_add_str(out, "\"}", e);
}

/* The next counted piece of packed bytes. */
static struct bytes take_piece(struct bytes *from)
{
    const uint32_t size = from->size >= 4 ? wire_u32(from->data) : 0;
    const size_t rest = from->size >= 4 ? from->size - 4 : 0;
    const struct bytes piece = {from->data + (from->size >= 4 ? 4 : 0), size < rest ? size : rest};
    from->size = rest - piece.size;
    from->data = piece.data + piece.size;
    return piece;
}

static enum rc add_xattrs(struct bytes packed, int indent, struct buf *out, struct err *e)
{
    if (begin_member(out, indent, "xattrs", e))
        return e->code;
    for (const char *before = "["; packed.size > 0; before = ",") {
        const struct bytes name = take_piece(&packed), value = take_piece(&packed);
        if (buf_add_str(out, before, e) || add_xattr(name, value, out, e))
            return e->code;
    }
    return buf_add_str(out, "]", e);
}

static enum rc add_acl_entries(const char *name, struct bytes entries, struct buf *out,
                               struct err *e)
{
    if (buf_addf(out, e, ",\"%s\":%s", name, entries.size ? "" : "null"))
        return e->code;
    for (size_t at = 0; at + ACL_ENTRY_BYTES <= entries.size; at += ACL_ENTRY_BYTES)
        if (buf_addf(out, e, "%s{\"id\":%" PRIu32 ",\"perm\":%u}", at ? "," : "[",
                     wire_u32(entries.data + at),
                     (unsigned)entries.data[at + 4] << 8 | entries.data[at + 5]))
            return e->code;
    return entries.size ? buf_add_str(out, "]", e) : RC_OK;
}

static enum rc add_acl(const char *member, struct bytes packed, int indent, struct buf *out,
                       struct err *e)
{
    if (packed.size < 16)
        return packed.size ? err_fail(e, RC_CORRUPT, "a list of access rights is cut short")
                           : RC_OK;
    const uint8_t *at = packed.data;
    struct bytes lists = {packed.data + 16, packed.size - 16};
    if (begin_member(out, indent, member, e) ||
        buf_addf(out, e,
                 "{\"owner\":%" PRIu32 ",\"group\":%" PRIu32 ",\"other\":%" PRIu32
                 ",\"mask\":%" PRIu32,
                 wire_u32(at), wire_u32(at + 4), wire_u32(at + 12), wire_u32(at + 8)) ||
        add_acl_entries("users", take_piece(&lists), out, e) ||
        add_acl_entries("groups", take_piece(&lists), out, e))
        return e->code;
    return buf_add_str(out, "}", e);
}

static enum rc add_slice(const uint8_t *record, const char *before, struct buf *out, struct err *e)
{
    const uint32_t pos = wire_u32(record), off = wire_u32(record + 16);
    if (buf_addf(out, e, "%s{\"id\":%" PRIu64, before, wire_u64(record + 4)) ||
        add_nonzero(out, "pos", pos, e) ||
        buf_addf(out, e, ",\"size\":%" PRIu32, wire_u32(record + 12)) ||
        add_nonzero(out, "off", off, e))
        return e->code;
    return buf_addf(out, e, ",\"len\":%" PRIu32 "}", wire_u32(record + 20));
}

/* A chunk that is not a whole number of records is not readable, and is dumped as far as it is. */
static enum rc add_chunk(uint32_t indx, struct bytes records, struct buf *out, struct err *e)
{
    if (buf_addf(out, e, "{\"index\":%" PRIu32 ",\"slices\":[", indx))
        return e->code;
    for (size_t at = 0; at + SLICE_BYTES <= records.size; at += SLICE_BYTES)
        if (add_slice(records.data + at, at ? "," : "", out, e))
            return e->code;
    return buf_add_str(out, "]}", e);
}

static enum rc add_chunks(struct bytes packed, int indent, struct buf *out, struct err *e)
{
    if (begin_member(out, indent, "chunks", e))
        return e->code;
    for (const char *before = "["; packed.size > 4; before = ",\n") {
        const uint32_t indx = wire_u32(packed.data);
        struct bytes rest = {packed.data + 4, packed.size - 4};
        const struct bytes records = take_piece(&rest);
        packed = rest;
        if (buf_add_str(out, before, e) || add_chunk(indx, records, out, e))
            return e->code;
    }
    return buf_add_str(out, "]", e);
}

enum rc dump_entry(const struct pg_result *page, int row, const struct dump_columns *c, int indent,
                   struct buf *out, struct err *e)
{
    const struct bytes target = pg_get_bytes(page, row, c->target);
    const struct bytes xattrs = pg_get_bytes(page, row, c->xattrs);
    const struct bytes chunks = pg_get_bytes(page, row, c->chunks);
    if (buf_addf(out, e, "\n%*s", indent, "") || add_attr(page, row, c, out, e) ||
        (target.size && add_symlink(target, indent, out, e)) ||
        (xattrs.size && add_xattrs(xattrs, indent, out, e)) ||
        add_acl("posix_acl_access", pg_get_bytes(page, row, c->access_acl), indent, out, e) ||
        add_acl("posix_acl_default", pg_get_bytes(page, row, c->default_acl), indent, out, e))
        return e->code;
    return chunks.size ? add_chunks(chunks, indent, out, e) : RC_OK;
}
