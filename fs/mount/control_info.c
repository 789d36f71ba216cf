/*
 * The answers of .control that describe: one inode (info), a tree (summary). The members and their
 * names are those of stock mounts, whose tools read them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/json.h"
#include "fs/base/wire.h"
#include "fs/meta/file.h"
#include "fs/mount/control_run.h"
#include "fs/store/key.h"
#include "fs/volume/bytes_text.h"

enum {
    CHUNKS_AT_ONCE = 16,
    PATHS_MAX = 100,
    OBJECT_BYTES = BLOCK_KEY_BYTES + 128,
};
#define DOCUMENT_BYTES_MAX ((size_t)200 << 20)
#define LOCKS_BYTES_MAX    ((size_t)16 << 20)

static enum rc no_memory(struct err *e)
{
    return err_fail(e, RC_NO_SPACE, "could not allocate a document");
}

/* ---- what is said of an inode ---- */

/* A piece of a file: part of a slice, or of one of its objects. */
struct piece {
    uint64_t chunk, slice;
    const char *object; /* NULL: the slice is named by its number; "": a hole */
    uint32_t size, off, len;
};

struct inode_info {
    ino_num ino;
    struct meta_summary sum;
    struct node_attr attr;
    struct json *paths, *pieces; /* arrays */
    struct buf flocks, plocks;   /* elements of arrays, as text */
    bool is_raw;
    const struct control_context *context;
};

static void info_deinit(struct inode_info *info)
{
    json_free(&info->paths);
    json_free(&info->pieces);
    buf_deinit(&info->flocks);
    buf_deinit(&info->plocks);
}

static enum rc add_path(struct bytes path, void *arg, struct err *e)
{
    struct inode_info *info = arg;
    return json_append_bytes(info->paths, path, e);
}

/* As text: owners are unsigned numbers of 64 bits, which a document of ours does not hold. */
static enum rc add_lock(const struct meta_lock_row *lock, void *arg, struct err *e)
{
    struct inode_info *info = arg;
    struct buf *list = lock->is_flock ? &info->flocks : &info->plocks;
    if (buf_addf(list, e, "%s{\"Sid\":%" PRIu64 ",\"Owner\":%" PRIu64, list->size ? "," : "",
                 lock->sid, lock->owner))
        return e->code;
    if (lock->is_flock)
        return buf_addf(list, e, ",\"Type\":\"%s\"}", lock->is_write ? "W" : "R");
    return buf_addf(list, e,
                    ",\"Type\":%d,\"Pid\":%" PRIu32 ",\"Start\":%" PRIu64 ",\"End\":%" PRIu64 "}",
                    lock->is_write, lock->pid, lock->start, lock->end);
}

static enum rc add_piece(struct inode_info *info, const struct piece *p, struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (!item)
        return no_memory(e);
    if (json_set_int(item, "ChunkIndex", (int64_t)p->chunk, e) ||
        (p->object ? json_set_string(item, "Key", p->object, e)
                   : json_set_int(item, "Id", (int64_t)p->slice, e)) ||
        json_set_int(item, "Size", p->size, e) || json_set_int(item, "Off", p->off, e) ||
        json_set_int(item, "Len", p->len, e))
        return e->code;
    return json_append(info->pieces, &item, e);
}

static enum rc add_objects(struct inode_info *info, uint64_t chunk, const struct extent *x,
                           struct err *e)
{
    struct volume *volume = info->context->volume;
    const uint32_t block_bytes = volume_block_bytes(volume);
    for (uint32_t done = 0; done < x->len;) {
        const uint32_t at = x->off + done, indx = at / block_bytes;
        const uint32_t size = block_size(x->size, block_bytes, indx), off = at % block_bytes;
        const uint32_t len = size - off < x->len - done ? size - off : x->len - done;
        char key[BLOCK_KEY_BYTES], object[OBJECT_BYTES];
        block_key(key, volume_hash_prefix(volume), (struct block_id){x->id, indx, size});
        snprintf(object, sizeof(object), "%s/%s", volume_name(volume), key);
        const struct piece p = {chunk, x->id, object, size, off, len};
        if (add_piece(info, &p, e))
            return e->code;
        done += len;
    }
    return RC_OK;
}

static enum rc add_chunk(struct inode_info *info, const struct chunk_view *view, struct err *e)
{
    for (uint32_t i = 0; i < view->extent_count; i++) {
        const struct extent *x = &view->extents[i];
        const struct piece p = {view->indx, x->id,  info->is_raw ? NULL : "",
                                x->size,    x->off, x->len};
        enum rc rc = info->is_raw || x->id == 0 ? add_piece(info, &p, e)
                                                : add_objects(info, view->indx, x, e);
        if (rc)
            return rc;
    }
    return RC_OK;
}

static enum rc add_pieces(struct inode_info *info, struct meta *meta, struct err *e)
{
    const uint64_t chunks = (info->attr.length + META_CHUNK_BYTES - 1) / META_CHUNK_BYTES;
    enum rc rc = RC_OK;
    for (uint64_t first = 0; !rc && first < chunks; first += CHUNKS_AT_ONCE) {
        struct chunk_view *views[CHUNKS_AT_ONCE] = {NULL};
        const uint32_t count =
            (uint32_t)(chunks - first < CHUNKS_AT_ONCE ? chunks - first : CHUNKS_AT_ONCE);
        rc = meta_slices(meta, info->attr.ino, (uint32_t)first, count, views, e);
        for (uint32_t i = 0; i < CHUNKS_AT_ONCE; i++) {
            if (!rc && views[i])
                rc = add_chunk(info, views[i], e);
            chunk_view_unref(&views[i]);
        }
    }
    return rc;
}

static enum rc gather(struct inode_info *info, const struct control_request *q,
                      struct tree_watch *watch, struct err *e)
{
    struct vfs *vfs = info->context->mount->vfs;
    struct meta *meta = volume_meta(info->context->volume);
    info->paths = json_array_new();
    info->pieces = json_array_new();
    buf_init(&info->flocks, LOCKS_BYTES_MAX);
    buf_init(&info->plocks, LOCKS_BYTES_MAX);
    if (!info->paths || !info->pieces)
        return no_memory(e);
    if (tree_sync(vfs, e) || vfs_getattr(vfs, q->ino, &info->attr, e) ||
        tree_sum(vfs, q->ino, q->is_recursive, q->is_strict, &info->sum, watch, e))
        return e->code;
    info->attr.ino = tree_inside(vfs, q->ino);
    if (meta_paths(meta, info->attr.ino, PATHS_MAX, add_path, info, e) ||
        meta_locks(meta, info->attr.ino, add_lock, info, e))
        return e->code;
    return info->attr.type == NODE_FILE ? add_pieces(info, meta, e) : RC_OK;
}

/* ---- as a document ---- */

static enum rc add_summary(const struct inode_info *info, struct json *doc, struct err *e)
{
    auto_json struct json *sum = json_object_new();
    if (!sum)
        return no_memory(e);
    if (json_set_int(sum, "Length", (int64_t)info->sum.length, e) ||
        json_set_int(sum, "Size", (int64_t)info->sum.space, e) ||
        json_set_int(sum, "Files", (int64_t)info->sum.files, e) ||
        json_set_int(sum, "Dirs", (int64_t)info->sum.dirs, e))
        return e->code;
    return json_set(doc, "Summary", &sum, e);
}

static enum rc add_tier(const struct inode_info *info, struct json *doc, struct err *e)
{
    auto_json struct json *tier = json_object_new();
    if (!tier)
        return no_memory(e);
    struct meta *meta = volume_meta(info->context->volume);
    struct format *format = meta_format_ref(meta);
    const char *class = info->attr.tier == 0 && format->storage_class ? format->storage_class : "";
    enum rc rc = json_set_int(tier, "ID", info->attr.tier, e);
    if (!rc)
        rc = json_set_string(tier, "StorageClass", class, e);
    meta_format_unref(meta, &format);
    if (rc || json_set_string(tier, "Tag", "", e))
        return e->code;
    return json_set(doc, "Tier", &tier, e);
}

static enum rc compose(struct inode_info *info, struct json *doc, struct err *e)
{
    if (json_set_int(doc, "Ino", (int64_t)info->ino, e) || json_set_bool(doc, "Failed", false, e) ||
        json_set_string(doc, "Reason", "", e) || add_summary(info, doc, e) ||
        json_set(doc, "Paths", &info->paths, e) ||
        json_set(doc, info->is_raw ? "Chunks" : "Objects", &info->pieces, e) ||
        add_tier(info, doc, e))
        return e->code;
    return json_set_string(doc, "RestoreStatus", "", e);
}

static enum rc answer_document(const struct json *doc, struct buf *answer, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, DOCUMENT_BYTES_MAX);
    if (json_write(doc, JSON_COMPACT, &text, e))
        return e->code;
    return control_add_data(answer, buf_bytes(&text), e);
}

/* The document with the locks put in before its end. */
static enum rc answer_info(const struct inode_info *info, const struct json *doc,
                           struct buf *answer, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, DOCUMENT_BYTES_MAX);
    if (json_write(doc, JSON_COMPACT, &text, e))
        return e->code;
    text.size--; /* the brace */
    if (buf_addf(&text, e, ",\"PLocks\":[") ||
        buf_add(&text, info->plocks.data, info->plocks.size, e) ||
        buf_addf(&text, e, "],\"FLocks\":[") ||
        buf_add(&text, info->flocks.data, info->flocks.size, e) || buf_addf(&text, e, "]}"))
        return e->code;
    return control_add_data(answer, buf_bytes(&text), e);
}

/* ---- as the old text ---- */

static enum rc add_piece_line(const struct json *piece, bool is_raw, struct buf *out, struct err *e)
{
    if (buf_addf(out, e, "\t%lld:\t", (long long)json_get_int(piece, "ChunkIndex", 0)))
        return e->code;
    enum rc rc = is_raw ? buf_addf(out, e, "%lld", (long long)json_get_int(piece, "Id", 0))
                        : buf_add_str(out, json_get_string(piece, "Key", ""), e);
    if (rc)
        return rc;
    return buf_addf(out, e, "\t%lld\t%lld\t%lld\n", (long long)json_get_int(piece, "Size", 0),
                    (long long)json_get_int(piece, "Off", 0),
                    (long long)json_get_int(piece, "Len", 0));
}

static enum rc add_path_lines(const struct json *paths, struct buf *out, struct err *e)
{
    if (json_length(paths) == 0)
        return buf_add_str(out, "   path: unknown\n", e);
    if (json_length(paths) == 1)
        return buf_addf(out, e, "   path: %s\n", json_as_string(json_at(paths, 0)));
    if (buf_add_str(out, "  paths:\n", e))
        return e->code;
    for (size_t i = 0; i < json_length(paths); i++)
        if (buf_addf(out, e, "\t%s\n", json_as_string(json_at(paths, i))))
            return e->code;
    return RC_OK;
}

static enum rc compose_text(const struct inode_info *info, struct buf *out, struct err *e)
{
    char length[BYTES_TEXT], size[BYTES_TEXT];
    bytes_text(length, info->sum.length);
    bytes_text(size, info->sum.space);
    if (buf_addf(out, e, "  inode: %llu\n  files: %llu\n   dirs: %llu\n length: %s\n   size: %s\n",
                 (unsigned long long)info->ino, (unsigned long long)info->sum.files,
                 (unsigned long long)info->sum.dirs, length, size) ||
        add_path_lines(info->paths, out, e))
        return e->code;
    if (info->attr.type == NODE_DIRECTORY)
        return RC_OK;
    if (buf_add_str(out, info->is_raw ? " chunks:\n" : "objects:\n", e))
        return e->code;
    for (size_t i = 0; i < json_length(info->pieces); i++)
        if (add_piece_line(json_at(info->pieces, i), info->is_raw, out, e))
            return e->code;
    return RC_OK;
}

static enum rc answer_text(struct bytes text, struct buf *answer, struct err *e)
{
    uint8_t size[4];
    wire_put_u32(size, (uint32_t)text.size);
    return buf_add(answer, size, sizeof(size), e) ? e->code
                                                  : buf_add(answer, text.data, text.size, e);
}

/* ---- the commands ---- */

/* What went wrong is told in the document, where the tools look for it. */
static enum rc compose_failure(ino_num ino, const struct err *why, struct json *doc, struct err *e)
{
    const char *text = why->posix ? strerrordesc_np(why->posix) : why->text;
    return json_set_int(doc, "Ino", (int64_t)ino, e) || json_set_bool(doc, "Failed", true, e) ||
                   json_set_string(doc, "Reason", text ? text : why->text, e)
               ? e->code
               : RC_OK;
}

static enum rc answer_legacy(const struct inode_info *info, const struct err *why,
                             struct buf *answer, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, DOCUMENT_BYTES_MAX);
    enum rc rc = why->code ? buf_add_str(&text, why->text, e) : compose_text(info, &text, e);
    return rc ? rc : answer_text(buf_bytes(&text), answer, e);
}

enum rc control_info(const struct control_context *context, const struct control_request *request,
                     struct tree_watch *watch, struct buf *answer, struct err *e)
{
    struct inode_info info = {.ino = request->ino, .is_raw = request->is_raw, .context = context};
    struct err why = ERR_INIT;
    enum rc rc = gather(&info, request, watch, &why);
    if (rc == RC_OK)
        why = ERR_INIT;
    auto_json struct json *doc = json_object_new();
    if (request->command == CONTROL_INFO_LEGACY)
        rc = answer_legacy(&info, &why, answer, e);
    else if (!doc)
        rc = no_memory(e);
    else {
        rc = why.code ? compose_failure(info.ino, &why, doc, e) : compose(&info, doc, e);
        if (!rc)
            rc = answer_info(&info, doc, answer, e);
    }
    info_deinit(&info);
    return rc;
}

static enum rc compose_tree(const struct tree_entry *entry, struct bytes above, struct json *into,
                            struct err *e)
{
    auto_buf struct buf path;
    auto_json struct json *children = json_array_new();
    buf_init(&path, 1 << 20);
    if (!children)
        return no_memory(e);
    if (buf_add(&path, above.data, above.size, e) || (above.size && buf_add_str(&path, "/", e)) ||
        buf_add(&path, entry->name, entry->name_size, e) ||
        json_set_int(into, "Inode", (int64_t)entry->ino, e) ||
        json_set_bytes(into, "Path", buf_bytes(&path), e) ||
        json_set_int(into, "Type", entry->type, e) ||
        json_set_int(into, "Size", (int64_t)entry->size, e) ||
        json_set_int(into, "Files", (int64_t)entry->files, e) ||
        json_set_int(into, "Dirs", (int64_t)entry->dirs, e))
        return e->code;
    for (size_t i = 0; i < entry->child_count; i++) {
        auto_json struct json *child = json_object_new();
        if (!child)
            return no_memory(e);
        if (compose_tree(&entry->children[i], buf_bytes(&path), child, e) ||
            json_append(children, &child, e))
            return e->code;
    }
    return entry->child_count ? json_set(into, "Children", &children, e) : RC_OK;
}

static enum rc answer_tree(const struct tree_entry *tree, int posix_errno, struct buf *answer,
                           struct err *e)
{
    auto_json struct json *doc = json_object_new(), *root = json_object_new();
    if (!doc || !root)
        return no_memory(e);
    if (json_set_int(doc, "Errno", posix_errno, e) ||
        compose_tree(tree, (struct bytes){NULL, 0}, root, e) || json_set(doc, "Tree", &root, e))
        return e->code;
    return answer_document(doc, answer, e);
}

enum rc control_summary(const struct control_context *context,
                        const struct control_request *request, struct tree_watch *watch,
                        struct buf *answer, struct err *e)
{
    enum { DEPTH_MAX = 10, TOP_MAX = 100 };
    struct vfs *vfs = context->mount->vfs;
    struct tree_entry tree = {.ino = request->ino};
    struct err why = ERR_INIT;
    const unsigned depth = request->depth < DEPTH_MAX ? request->depth : DEPTH_MAX;
    const unsigned top = request->top < TOP_MAX ? request->top : TOP_MAX;
    enum rc rc = tree_sync(vfs, &why);
    if (!rc)
        rc = tree_summary(vfs, request->ino, depth, top, request->is_strict, &tree, watch, &why);
    const int posix_errno = rc == RC_OK ? 0 : rc == RC_REFUSED ? why.posix : EIO;
    if (rc == RC_CANCELLED)
        return err_fail(e, RC_CANCELLED, "cancelled");
    rc = answer_tree(&tree, posix_errno, answer, e);
    tree_entry_deinit(&tree);
    return rc;
}
