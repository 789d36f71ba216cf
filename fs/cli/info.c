/*
 * tarn info: what the metadata says of one path, and where the bytes of a file are. With a metadata
 * URL it asks the database; a path in a mount is asked of the mount (info_mount.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/cli/info_mount.h"
#include "fs/cli/print.h"
#include "fs/cli/verbs.h"
#include "fs/meta/file.h"
#include "fs/meta/inspect.h"
#include "fs/meta/namespace.h"
#include "fs/store/key.h"
#include "fs/volume/volume.h"

/* Chunks asked for in one exchange. */
#define CHUNKS_AT_ONCE 16

struct info_options {
    struct info_mount_options mount; /* json, recursive and raw are for both forms */
    int64_t max_blocks;
};

static const struct conf_option options[] = {
    {.name = "recursive",
     .letter = 'r',
     .type = CONF_FLAG,
     .offset = offsetof(struct info_options, mount.recursive),
     .help = "sum the whole tree below a directory, not only its children"},
    {.name = "raw",
     .type = CONF_FLAG,
     .offset = offsetof(struct info_options, mount.raw),
     .help = "show slices as they are recorded instead of objects"},
    {.name = "strict",
     .type = CONF_FLAG,
     .offset = offsetof(struct info_options, mount.strict),
     .help = "in a mount: count every file instead of relying on the volume's statistics"},
    {.name = "inode",
     .letter = 'i',
     .type = CONF_FLAG,
     .offset = offsetof(struct info_options, mount.inode),
     .help = "the arguments are inode numbers in the mount of the working directory"},
    {.name = "max-blocks",
     .type = CONF_INT,
     .default_text = "10000",
     .min = 0,
     .max = 100000000,
     .offset = offsetof(struct info_options, max_blocks),
     .help = "with META-URL: objects or slices of a file to list at most"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct info_options, mount.json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn info",
    .arguments = "PATH...|META-URL PATH",
    .summary = "Show an inode, the objects of a file, or sums over a directory.",
    .details =
        "PATH is a path in a mount. After META-URL, which asks the database without a mount, it\n"
        "is given from the root of the volume, as \"/models/a.bin\".\n"
        "\n"
        "Exit codes: 0 shown, 1 no such path, 2 wrong command line, 3 PostgreSQL\n"
        "unreachable, 4 wrong password, 5 no volume in the database.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = -1,
};

static const char *const type_names[] = {"?",    "file",         "directory",        "symlink",
                                         "fifo", "block device", "character device", "socket"};

struct listing {
    struct json *items; /* borrowed from the document */
    const struct volume *volume;
    bool is_raw;
    int64_t left; /* how many more may be listed */
    bool is_cut;
};

static enum rc add_item(struct listing *list, uint64_t file_off, const struct extent *x,
                        const char *object, uint32_t size, uint32_t off, uint32_t len,
                        struct err *e)
{
    if (list->left-- <= 0) {
        list->is_cut = true;
        return RC_OK;
    }
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_int(item, "offset", (int64_t)file_off, e) ||
        json_set_int(item, "slice", (int64_t)x->id, e) ||
        (object ? json_set_string(item, "object", object, e) : RC_OK) ||
        json_set_int(item, "size", size, e) || json_set_int(item, "from", off, e) ||
        json_set_int(item, "length", len, e))
        return e->code;
    return json_append(list->items, &item, e);
}

/* The objects that one extent of a chunk reads from. */
static enum rc add_objects(struct listing *list, uint64_t file_off, const struct extent *x,
                           struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(list->volume);
    for (uint32_t done = 0; done < x->len && !list->is_cut;) {
        const uint32_t at = x->off + done;
        const uint32_t indx = at / block_bytes;
        const uint32_t size = block_size(x->size, block_bytes, indx);
        const uint32_t from = at % block_bytes;
        uint32_t len = size - from;
        if (len > x->len - done)
            len = x->len - done;
        char key[BLOCK_KEY_BYTES], object[BLOCK_KEY_BYTES + 128];
        block_key(key, volume_hash_prefix(list->volume), (struct block_id){x->id, indx, size});
        snprintf(object, sizeof(object), "%s/%s", volume_name(list->volume), key);
        if (add_item(list, file_off + done, x, object, size, from, len, e))
            return e->code;
        done += len;
    }
    return RC_OK;
}

static enum rc add_chunk(struct listing *list, const struct chunk_view *view, struct err *e)
{
    const uint64_t base = (uint64_t)view->indx * META_CHUNK_BYTES;
    for (uint32_t i = 0; i < view->extent_count && !list->is_cut; i++) {
        const struct extent *x = &view->extents[i];
        if (x->id == 0)
            continue;
        enum rc rc = list->is_raw
                         ? add_item(list, base + x->pos, x, NULL, x->size, x->off, x->len, e)
                         : add_objects(list, base + x->pos, x, e);
        if (rc)
            return rc;
    }
    return RC_OK;
}

static enum rc add_file(struct meta *meta, const struct node_attr *attr, struct listing *list,
                        struct err *e)
{
    const uint64_t chunks = (attr->length + META_CHUNK_BYTES - 1) / META_CHUNK_BYTES;
    for (uint64_t first = 0; first < chunks && !list->is_cut; first += CHUNKS_AT_ONCE) {
        struct chunk_view *views[CHUNKS_AT_ONCE] = {NULL};
        const uint32_t count =
            (uint32_t)(chunks - first < CHUNKS_AT_ONCE ? chunks - first : CHUNKS_AT_ONCE);
        if (meta_slices(meta, attr->ino, (uint32_t)first, count, views, e))
            return e->code;
        enum rc rc = RC_OK;
        for (uint32_t i = 0; i < count; i++) {
            if (views[i] && rc == RC_OK)
                rc = add_chunk(list, views[i], e);
            chunk_view_unref(&views[i]);
        }
        if (rc)
            return rc;
    }
    return RC_OK;
}

static enum rc add_attr(struct json *doc, const struct node_attr *attr, struct err *e)
{
    char mode[8];
    snprintf(mode, sizeof(mode), "%04o", attr->mode);
    if (json_set_int(doc, "inode", (int64_t)attr->ino, e) ||
        json_set_string(doc, "type", type_names[attr->type], e) ||
        json_set_string(doc, "mode", mode, e) || json_set_int(doc, "uid", attr->uid, e) ||
        json_set_int(doc, "gid", attr->gid, e) || json_set_int(doc, "nlink", attr->nlink, e) ||
        json_set_int(doc, "length", (int64_t)attr->length, e))
        return e->code;
    return RC_OK;
}

static enum rc add_summary(struct meta *meta, const struct node_attr *attr, bool is_recursive,
                           struct json *doc, struct err *e)
{
    struct meta_summary sum;
    if (meta_summary(meta, attr->ino, is_recursive, &sum, e) ||
        json_set_int(doc, "files", (int64_t)sum.files, e) ||
        json_set_int(doc, "dirs", (int64_t)sum.dirs, e) ||
        json_set_int(doc, "total_length", (int64_t)sum.length, e) ||
        json_set_int(doc, "total_space", (int64_t)sum.space, e))
        return e->code;
    return RC_OK;
}

static enum rc add_content(struct volume *volume, const struct node_attr *attr,
                           const struct info_options *o, struct json *doc, struct err *e)
{
    struct meta *meta = volume_meta(volume);
    if (attr->type == NODE_DIRECTORY)
        return add_summary(meta, attr, o->mount.recursive, doc, e);
    if (attr->type != NODE_FILE)
        return RC_OK;
    auto_json struct json *items = json_array_new();
    if (!items)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    struct listing list = {items, volume, o->mount.raw, o->max_blocks, false};
    if (add_file(meta, attr, &list, e) || json_set_bool(doc, "is_cut", list.is_cut, e))
        return e->code;
    return json_set(doc, o->mount.raw ? "slices" : "objects", &items, e);
}

static enum rc describe(struct volume *volume, const char *path, const struct info_options *o,
                        struct json *doc, struct err *e)
{
    struct node_attr attr;
    struct meta *meta = volume_meta(volume);
    const struct bytes name = {(const uint8_t *)path, strlen(path)};
    if (meta_resolve(meta, META_ROOT, name, &attr, e))
        return e->code;
    auto_buf struct buf whole;
    buf_init(&whole, 1 << 20);
    if (meta_path(meta, attr.ino, &whole, e) || json_set_bytes(doc, "path", buf_bytes(&whole), e) ||
        add_attr(doc, &attr, e))
        return e->code;
    return add_content(volume, &attr, o, doc, e);
}

static enum rc show(const char *url, const char *path, const struct info_options *o, struct err *e)
{
    const struct volume_options options_of_volume = {
        .meta = {.url = url, .application = "tarn info", .is_read_only = true}};
    struct volume *volume = NULL;
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    enum rc rc = volume_open(&volume, &options_of_volume, e);
    if (!rc)
        rc = describe(volume, path, o, doc, e);
    if (!rc)
        rc = print_document(doc, o->mount.json, e);
    volume_close(&volume);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct info_options *o = into;
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (!strstr(arguments[0], "://"))
        return info_mount(&o->mount, arguments, e) ? err_exits(e, EXIT_FAILED) : RC_OK;
    if (!arguments[1] || arguments[2])
        return err_fail(e, RC_INVALID, "after META-URL comes one path");
    return url_check(arguments[0], e) ? e->code : show(arguments[0], arguments[1], o, e);
}

int command_info(int argc, char **argv)
{
    struct info_options o;
    return command_run(&command, &o, work, argc, argv);
}
