#include "fs/meta/load_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/meta/acl.h"
#include "fs/meta/dump.h"
#include "fs/meta/load_entry.h"

#define DEPTH_MAX       100000
#define VALUE_BYTES_MAX ((size_t)16 << 20) /* what json_parse() takes */
#define NAME_BYTES_MAX  ((size_t)64 << 10)

/*
 * An inode whose object is being read.
 *
 *   in its members    until "entries" or the end; node.attr.ino is 0 before "attr"
 *   in its entries    is_in_entries; the node has been handed over
 */
struct frame {
    struct node_attr attr;
    bool is_first, is_in_entries, is_first_entry;
};

struct reader {
    struct json_stream *s;
    struct load *load;
    struct load_document *document;
    struct frame *frames;
    size_t depth, room;
    struct buf value, member; /* the text and the name of the member at hand */
    struct buf name;          /* of the entry at hand, as bytes */
    struct buf access_acl, default_acl;
    bool is_handed_over; /* the inode at hand, to the load */
};

/* -------------------------------------------------------------------------------- small values */

static enum rc parse(struct reader *r, struct json **out, struct err *e)
{
    if (json_stream_value(r->s, &r->value, e))
        return e->code;
    return json_parse(buf_bytes(&r->value), out, e);
}

typedef enum rc (*element_reader)(struct reader *r, const struct json *element, struct err *e);

/* Each element of an array; null is as good as an empty one. */
static enum rc each_element(struct reader *r, element_reader read, struct err *e)
{
    bool is_first = true, more, is_null;
    if (json_stream_null(r->s, &is_null, e))
        return e->code;
    if (is_null)
        return RC_OK;
    if (json_stream_enter(r->s, '[', e))
        return e->code;
    for (;;) {
        auto_json struct json *element = NULL;
        if (json_stream_more(r->s, ']', &is_first, &more, e))
            return e->code;
        if (!more)
            return RC_OK;
        if (parse(r, &element, e) || read(r, element, e))
            return e->code;
    }
}

static enum rc read_delfile(struct reader *r, const struct json *d, struct err *e)
{
    return load_delfile(r->load, (ino_num)json_get_int(d, "inode", 0), json_get_int(d, "length", 0),
                        json_get_int(d, "expire", 0), e);
}

static enum rc read_chunk(struct reader *r, const struct json *chunk, struct err *e)
{
    return load_entry_chunk(chunk, r->frames[r->depth - 1].attr.ino, r->load, e);
}

/* {"key": {"maxSpace": …, "maxInodes": …}, …} */
static enum rc read_quotas(struct reader *r, int type, struct err *e)
{
    bool is_first = true, more;
    if (json_stream_enter(r->s, '{', e))
        return e->code;
    for (;;) {
        const char *key;
        char *end;
        auto_json struct json *quota = NULL;
        if (json_stream_more(r->s, '}', &is_first, &more, e))
            return e->code;
        if (!more)
            return RC_OK;
        if (json_stream_name(r->s, &r->member, e) || buf_cstr(&r->member, &key, e))
            return e->code;
        const long long number = strtoll(key, &end, 10);
        if (*end || end == key || number < 0)
            return err_fail(e, RC_INVALID, "\"%s\" is no key of a quota", key);
        if (parse(r, &quota, e) ||
            load_quota(r->load, type, number, json_get_int(quota, "maxSpace", -1),
                       json_get_int(quota, "maxInodes", -1), e))
            return e->code;
    }
}

/* ---------------------------------------------------------------------------------- one inode */

static enum rc push(struct reader *r, struct err *e)
{
    if (r->depth == DEPTH_MAX)
        return err_fail(e, RC_INVALID, "the tree is deeper than %d levels", DEPTH_MAX);
    if (r->depth == r->room) {
        const size_t room = r->room ? 2 * r->room : 32;
        struct frame *frames = reallocarray(r->frames, room, sizeof(*frames));
        if (!frames)
            return err_fail(e, RC_NO_SPACE, "out of memory");
        r->frames = frames;
        r->room = room;
    }
    r->frames[r->depth++] = (struct frame){.is_first = true, .is_first_entry = true};
    buf_clear(&r->access_acl);
    buf_clear(&r->default_acl);
    r->is_handed_over = false;
    return json_stream_enter(r->s, '{', e);
}

/* The root of whatever was dumped is the root; the trash has its own number and stands in it. A
 * volume without a trash can have one in its dump, made up and with no rights. */
static enum rc place(struct reader *r, struct frame *f, struct err *e)
{
    const bool is_trash = f->attr.ino == META_TRASH;
    if (r->depth > 1) {
        f->attr.parent = r->frames[r->depth - 2].attr.ino;
        return RC_OK;
    }
    if (f->attr.type != NODE_DIRECTORY)
        return err_fail(e, RC_INVALID, "a root is no directory");
    if (is_trash)
        f->attr.mode = 0555;
    else
        f->attr.ino = META_ROOT;
    f->attr.parent = META_ROOT;
    return RC_OK;
}

static enum rc read_attr(struct reader *r, struct frame *f, struct err *e)
{
    auto_json struct json *attr = NULL;
    if (parse(r, &attr, e) || load_entry_attr(attr, &f->attr, e))
        return e->code;
    return place(r, f, e);
}

static enum rc read_acl(struct reader *r, struct buf *into, struct err *e)
{
    auto_json struct json *acl = NULL;
    buf_clear(into);
    return parse(r, &acl, e) ? e->code : load_entry_acl(acl, into, e);
}

static enum rc read_xattrs(struct reader *r, const struct frame *f, struct err *e)
{
    auto_json struct json *xattrs = NULL;
    return parse(r, &xattrs, e) ? e->code : load_entry_xattrs(xattrs, f->attr.ino, r->load, e);
}

static enum rc read_symlink(struct reader *r, struct frame *f, struct err *e)
{
    auto_json struct json *text = NULL;
    auto_buf struct buf target;
    buf_init(&target, META_SYMLINK_MAX);
    if (parse(r, &text, e))
        return e->code;
    const char *escaped = json_as_string(text);
    if (!escaped)
        return err_fail(e, RC_INVALID, "the target of a link is no text");
    if (dump_unescape((struct bytes){(const uint8_t *)escaped, strlen(escaped)}, &target, e))
        return e->code;
    f->attr.length = target.size;
    return load_symlink(r->load, f->attr.ino, buf_bytes(&target), e);
}

/* The name of an entry waits in r->name until its inode is known. */
static enum rc hand_over(struct reader *r, struct frame *f, struct err *e)
{
    const struct load_node node = {f->attr, buf_bytes(&r->access_acl), buf_bytes(&r->default_acl)};
    if (r->is_handed_over)
        return RC_OK;
    r->is_handed_over = true;
    r->document->entries++;
    if (r->document->progress)
        r->document->progress(r->document->arg, r->document->entries);
    if (f->attr.ino == 0)
        return err_fail(e, RC_INVALID, "an inode has no \"attr\"");
    if (load_node(r->load, &node, e) || r->depth == 1)
        return e->code;
    return load_edge(r->load, f->attr.parent, buf_bytes(&r->name), f->attr.ino, f->attr.type, e);
}

static enum rc begin_entries(struct reader *r, struct frame *f, struct err *e)
{
    if (hand_over(r, f, e))
        return e->code;
    if (f->attr.type != NODE_DIRECTORY)
        return err_fail(e, RC_INVALID, "inode %" PRIu64 " has entries and is no directory",
                        f->attr.ino);
    f->is_in_entries = true;
    return json_stream_enter(r->s, '{', e);
}

/* One member of an inode's object. Clients write "attr" first and "entries" last. */
static enum rc read_member(struct reader *r, struct frame *f, struct err *e)
{
    const char *name;
    if (json_stream_name(r->s, &r->member, e) || buf_cstr(&r->member, &name, e))
        return e->code;
    if (r->is_handed_over || (f->attr.ino == 0) != (strcmp(name, "attr") == 0))
        return err_fail(e, RC_INVALID, "\"%s\" stands where it cannot be", name);
    if (strcmp(name, "attr") == 0)
        return read_attr(r, f, e);
    if (strcmp(name, "entries") == 0)
        return begin_entries(r, f, e);
    if (strcmp(name, "chunks") == 0)
        return each_element(r, read_chunk, e);
    if (strcmp(name, "xattrs") == 0)
        return read_xattrs(r, f, e);
    if (strcmp(name, "symlink") == 0)
        return read_symlink(r, f, e);
    if (strcmp(name, "posix_acl_access") == 0)
        return read_acl(r, &r->access_acl, e);
    if (strcmp(name, "posix_acl_default") == 0)
        return read_acl(r, &r->default_acl, e);
    return json_stream_value(r->s, &r->value, e); /* of a newer client */
}

/* ---------------------------------------------------------------------------------- the tree */

static enum rc begin_entry(struct reader *r, struct err *e)
{
    if (json_stream_name(r->s, &r->member, e))
        return e->code;
    buf_clear(&r->name);
    if (dump_unescape(buf_bytes(&r->member), &r->name, e))
        return e->code;
    if (r->name.size == 0 || r->name.size > META_NAME_MAX ||
        memchr(r->name.data, '/', r->name.size) || memchr(r->name.data, '\0', r->name.size))
        return err_fail(e, RC_INVALID, "a name cannot be of %zu bytes, or holds what it cannot",
                        r->name.size);
    return push(r, e);
}

/* One step: a member, an entry's beginning, or the end of an object. */
static enum rc step(struct reader *r, struct err *e)
{
    struct frame *f = &r->frames[r->depth - 1];
    bool more;
    if (json_stream_more(r->s, '}', f->is_in_entries ? &f->is_first_entry : &f->is_first, &more, e))
        return e->code;
    if (more)
        return f->is_in_entries ? begin_entry(r, e) : read_member(r, f, e);
    if (f->is_in_entries) {
        f->is_in_entries = false;
        r->is_handed_over = true; /* of this one: its entries had their own turn */
        return RC_OK;
    }
    if (hand_over(r, f, e))
        return e->code;
    r->depth--;
    return RC_OK;
}

static enum rc read_tree(struct reader *r, struct err *e)
{
    if (push(r, e))
        return e->code;
    while (r->depth > 0)
        if (step(r, e))
            return err_note(e, "entry %" PRIu64, r->document->entries);
    return RC_OK;
}

static enum rc read_part(struct reader *r, const char *name, struct err *e)
{
    if (strcmp(name, "Setting") == 0)
        return json_stream_value(r->s, &r->document->setting, e);
    if (strcmp(name, "Counters") == 0)
        return json_stream_value(r->s, &r->document->counters, e);
    if (strcmp(name, "DelFiles") == 0)
        return each_element(r, read_delfile, e);
    if (strcmp(name, "Quotas") == 0)
        return read_quotas(r, 0, e);
    if (strcmp(name, "UserQuotas") == 0)
        return read_quotas(r, 1, e);
    if (strcmp(name, "GroupQuotas") == 0)
        return read_quotas(r, 2, e);
    if (strcmp(name, "FSTree") == 0 || strcmp(name, "Trash") == 0)
        return read_tree(r, e);
    return json_stream_value(r->s, &r->value, e); /* Sustained: of sessions that are over */
}

static enum rc read_document(struct reader *r, struct err *e)
{
    bool is_first = true, more;
    if (json_stream_enter(r->s, '{', e))
        return e->code;
    for (;;) {
        auto_buf struct buf part;
        const char *name;
        buf_init(&part, NAME_BYTES_MAX);
        if (json_stream_more(r->s, '}', &is_first, &more, e))
            return e->code;
        if (!more)
            return json_stream_end(r->s, e);
        if (json_stream_name(r->s, &part, e) || buf_cstr(&part, &name, e))
            return e->code;
        if (read_part(r, name, e))
            return err_note(e, "\"%s\"", name);
    }
}

enum rc load_json(struct json_stream *from, struct load *load, struct load_document *document,
                  struct err *e)
{
    struct reader r = {.s = from, .load = load, .document = document};
    document->entries = 0;
    buf_init(&document->setting, VALUE_BYTES_MAX);
    buf_init(&document->counters, VALUE_BYTES_MAX);
    buf_init(&r.value, VALUE_BYTES_MAX);
    buf_init(&r.member, NAME_BYTES_MAX);
    buf_init(&r.name, NAME_BYTES_MAX);
    buf_init(&r.access_acl, ACL_BYTES_MAX);
    buf_init(&r.default_acl, ACL_BYTES_MAX);
    enum rc rc = read_document(&r, e);
    if (!rc && (document->setting.size == 0 || document->counters.size == 0))
        rc = err_fail(e, RC_INVALID, "this is no dump: \"Setting\" or \"Counters\" is missing");
    struct buf *const own[] = {&r.value, &r.member, &r.name, &r.access_acl, &r.default_acl};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        buf_deinit(own[i]);
    free(r.frames);
    return rc;
}
