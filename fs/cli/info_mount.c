#include "fs/cli/info_mount.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/json.h"
#include "fs/cli/table.h"
#include "fs/cli/talk.h"
#include "fs/meta/types.h"
#include "fs/volume/bytes_text.h"

#define ANSWER_BYTES_MAX ((size_t)256 << 20)
#define NUMBER_BYTES     24

static const char *number(char room[NUMBER_BYTES], const struct json *object, const char *name)
{
    snprintf(room, NUMBER_BYTES, "%" PRId64, json_get_int(object, name, 0));
    return room;
}

/* ---- the pieces of a file ---- */

static enum rc print_slices(const struct json *chunks, struct err *e)
{
    static const char *const headings[] = {"chunkIndex", "sliceId", "size", "offset", "length"};
    static const char *const members[] = {"ChunkIndex", "Id", "Size", "Off", "Len"};
    auto_table struct table *table = NULL;
    if (table_open(&table, 5, e) || table_add(table, headings, e))
        return e->code;
    for (size_t i = 0; i < json_length(chunks); i++) {
        char cells[5][NUMBER_BYTES];
        const char *row[5];
        for (size_t k = 0; k < 5; k++)
            row[k] = number(cells[k], json_at(chunks, i), members[k]);
        if (table_add(table, row, e))
            return e->code;
    }
    puts(" chunks:");
    table_print(table, stdout);
    return RC_OK;
}

/* Where an object stands in the file follows from those before it in its chunk. */
static enum rc print_objects(const struct json *objects, uint64_t length, struct err *e)
{
    static const char *const headings[] = {"chunkIndex", "objectName", "size",
                                           "offset",     "length",     "pos"};
    auto_table struct table *table = NULL;
    uint64_t last_chunk = 0, in_chunk = 0;
    if (table_open(&table, 6, e) || table_add(table, headings, e))
        return e->code;
    for (size_t i = 0; i < json_length(objects); i++) {
        const struct json *o = json_at(objects, i);
        const uint64_t chunk = (uint64_t)json_get_int(o, "ChunkIndex", 0);
        const uint64_t len = (uint64_t)json_get_int(o, "Len", 0);
        char cells[4][NUMBER_BYTES], at[NUMBER_BYTES];
        in_chunk = chunk == last_chunk ? in_chunk : 0;
        last_chunk = chunk;
        const uint64_t pos = chunk * META_CHUNK_BYTES + in_chunk;
        if (pos >= length)
            break;
        snprintf(at, sizeof(at), "%" PRIu64, pos);
        const char *const row[] = {number(cells[0], o, "ChunkIndex"), json_get_string(o, "Key", ""),
                                   number(cells[1], o, "Size"),       number(cells[2], o, "Off"),
                                   number(cells[3], o, "Len"),        at};
        if (table_add(table, row, e))
            return e->code;
        in_chunk += len;
    }
    puts(" objects:");
    table_print(table, stdout);
    return RC_OK;
}

/* ---- the inode ---- */

static void print_paths(const struct json *paths)
{
    const size_t count = paths ? json_length(paths) : 0;
    if (count == 0)
        puts("   path: unknown");
    else if (count == 1)
        printf("   path: %s\n", json_as_string(json_at(paths, 0)));
    else
        puts("  paths:");
    for (size_t i = 0; count > 1 && i < count; i++)
        printf("\t%s\n", json_as_string(json_at(paths, i)));
}

static enum rc print_locks(const struct json *doc)
{
    static const char *const kinds[] = {"FLocks", "PLocks"};
    static const char *const titles[] = {"flocks", "plocks"};
    for (size_t i = 0; i < 2; i++) {
        const struct json *locks = json_get(doc, kinds[i]);
        if (locks && json_kind(locks) == JSON_KIND_ARRAY && json_length(locks))
            printf(" %s: %zu\n", titles[i], json_length(locks));
    }
    return RC_OK;
}

static bool has_items(const struct json *list)
{
    return list && json_kind(list) == JSON_KIND_ARRAY && json_length(list) > 0;
}

static enum rc print_inode(const char *given, const struct json *doc, struct err *e)
{
    const struct json *sum = json_get(doc, "Summary");
    const struct json *chunks = json_get(doc, "Chunks"), *objects = json_get(doc, "Objects");
    const uint64_t bytes = (uint64_t)json_get_int(sum, "Length", 0);
    char length[BYTES_TEXT], size[BYTES_TEXT];
    bytes_text(length, bytes);
    bytes_text(size, (uint64_t)json_get_int(sum, "Size", 0));
    printf("%s :\n  inode: %" PRId64 "\n  files: %" PRId64 "\n   dirs: %" PRId64
           "\n length: %s\n   size: %s\n",
           given, json_get_int(doc, "Ino", 0), json_get_int(sum, "Files", 0),
           json_get_int(sum, "Dirs", 0), length, size);
    const struct json *paths = json_get(doc, "Paths");
    print_paths(has_items(paths) ? paths : NULL);
    if (has_items(chunks) && print_slices(chunks, e))
        return e->code;
    if (has_items(objects) && print_objects(objects, bytes, e))
        return e->code;
    return print_locks(doc);
}

/* ---- asking ---- */

static enum rc take(const struct info_mount_options *o, const char *given, struct bytes answer,
                    struct err *e)
{
    auto_json struct json *doc = NULL;
    if (json_parse(answer, &doc, e))
        return e->code;
    if (json_get_bool(doc, "Failed", false))
        return err_fail(e, RC_NOT_FOUND, "\"%s\": %s", given, json_get_string(doc, "Reason", "?"));
    return o->json ? json_print(doc, stdout, e) : print_inode(given, doc, e);
}

static enum rc inode_in(const char *given, uint64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    *out = strtoull(given, &end, 10);
    if (*end || end == given || errno || *out == 0 || *given == '-')
        return err_fail(e, RC_INVALID, "\"%s\" is no inode number", given);
    return RC_OK;
}

static enum rc ask(const struct info_mount_options *o, const char *given, struct err *e)
{
    auto_talk_path struct talk_path path = {.text = NULL};
    auto_buf struct buf answer;
    buf_init(&answer, ANSWER_BYTES_MAX);
    uint64_t ino = 0;
    if (o->inode && inode_in(given, &ino, e))
        return e->code;
    if (talk_path_find(o->inode ? "." : given, true, &path, e))
        return e->code;
    const struct control_request request = {
        .command = CONTROL_INFO,
        .ino = o->inode ? ino : path.ino,
        .is_recursive = o->recursive,
        .is_raw = o->raw,
        .is_strict = o->strict,
    };
    struct talk_watch watch = {.what = "adding up", .is_quiet = o->json || !o->recursive};
    if (talk_ask(path.root, &request, &watch, &answer, e))
        return err_note(e, "\"%s\"", given);
    return take(o, given, buf_bytes(&answer), e);
}

enum rc info_mount(const struct info_mount_options *options, const char *const *arguments,
                   struct err *e)
{
    for (size_t i = 0; arguments[i]; i++)
        if (ask(options, arguments[i], e))
            return e->code;
    return RC_OK;
}
