/*
 * meta_probe - runs verbs of the metadata client and prints one line of JSON for each, so that
 * tests can drive them through a proxy that loses answers.
 *
 *   meta_probe [--read-only] [--timeout-ms N] [--conns N] URL [VERB ARGUMENT...]
 *
 * Without a verb, lines "verb argument..." are read from stdin and answered one by one, in one
 * session, until its end. Arguments hold no blanks; "-" is the empty string. `meta_probe URL format
 * NAME BUCKET` makes a volume in an empty database and adopts it, `meta_probe URL install-api`
 * installs the functions anew. `help` lists the verbs.
 *
 * An answer is {"ok":true,…} or {"ok":false,"code":"refused","errno":"ENOENT","text":"…"}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/crc32c.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/meta/file.h"
#include "fs/meta/meta_install.h"
#include "fs/meta/namespace.h"
#include "fs/meta/statfs.h"
#include "tests/system/meta_stress.h"

#define ARGUMENTS_MAX  12
#define LINE_BYTES_MAX 65536
#define PAGE_MAX       1000
#define INSTALL_MS     60000

struct probe {
    struct meta *meta;
    const char *arguments[ARGUMENTS_MAX];
    int count;
    struct json *out; /* the answer's object */
};

typedef enum rc (*verb_fn)(struct probe *p, struct err *e);

struct verb {
    const char *name;
    const char *arguments; /* shown; a verb needs as many as there are words before "[" */
    verb_fn run;
};

static uint64_t number(const struct probe *p, int i)
{
    return i < p->count ? strtoull(p->arguments[i], NULL, 0) : 0;
}

static struct bytes text(const struct probe *p, int i)
{
    const char *value = i < p->count && strcmp(p->arguments[i], "-") != 0 ? p->arguments[i] : "";
    return (struct bytes){(const uint8_t *)value, strlen(value)};
}

static enum rc put_time(struct json *to, const char *name, struct timespec t, struct err *e)
{
    return json_set_int(to, name, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec, e);
}

static enum rc put_attr(struct json *to, const struct node_attr *a, struct err *e)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"ino", a->ino},       {"type", a->type},     {"flags", a->flags}, {"mode", a->mode},
        {"uid", a->uid},       {"gid", a->gid},       {"nlink", a->nlink}, {"rdev", a->rdev},
        {"length", a->length}, {"parent", a->parent}, {"tier", a->tier},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (json_set_int(to, numbers[i].name, (int64_t)numbers[i].value, e))
            return e->code;
    if (put_time(to, "atime", a->atime, e) || put_time(to, "mtime", a->mtime, e))
        return e->code;
    return put_time(to, "ctime", a->ctime, e);
}

static enum rc put_extent(struct json *list, const struct extent *x, struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (json_set_int(item, "pos", x->pos, e) || json_set_int(item, "len", x->len, e) ||
        json_set_int(item, "id", (int64_t)x->id, e) || json_set_int(item, "size", x->size, e) ||
        json_set_int(item, "off", x->off, e))
        return e->code;
    return json_append(list, &item, e);
}

static enum rc put_view(struct json *to, const struct chunk_view *view, struct err *e)
{
    auto_json struct json *extents = json_array_new();
    for (uint32_t i = 0; view && i < view->extent_count; i++)
        if (put_extent(extents, &view->extents[i], e))
            return e->code;
    if (json_set_int(to, "records", view ? view->record_count : 0, e) ||
        json_set_int(to, "sums", view ? view->sums_count : 0, e))
        return e->code;
    return json_set(to, "extents", &extents, e);
}

/* ---- names */

static enum rc run_lookup(struct probe *p, struct err *e)
{
    struct node_attr attr;
    if (meta_lookup(p->meta, number(p, 0), text(p, 1), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_resolve(struct probe *p, struct err *e)
{
    struct node_attr attr;
    if (meta_resolve(p->meta, number(p, 0), text(p, 1), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc put_entry(struct json *list, const struct dir_entry *entry, struct err *e)
{
    auto_json struct json *item = json_object_new();
    struct bytes name = {entry->name, entry->name_size};
    if (json_set_bytes(item, "name", name, e) ||
        json_set_bool(item, "has_attr", entry->has_attr, e) || put_attr(item, &entry->attr, e))
        return e->code;
    return json_append(list, &item, e);
}

static enum rc run_readdir(struct probe *p, struct err *e)
{
    uint32_t count = p->count > 3 ? (uint32_t)number(p, 3) : PAGE_MAX;
    auto_free struct dir_entry *page = calloc(PAGE_MAX, sizeof(*page));
    auto_json struct json *list = json_array_new();
    if (count > PAGE_MAX)
        count = PAGE_MAX;
    if (!page)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (meta_readdir(p->meta, number(p, 0), text(p, 2), number(p, 1) != 0, page, &count, e))
        return e->code;
    for (uint32_t i = 0; i < count; i++)
        if (put_entry(list, &page[i], e))
            return e->code;
    return json_set(p->out, "entries", &list, e);
}

/* EEXIST answers what is there as well. */
static enum rc run_create(struct probe *p, struct err *e)
{
    const struct meta_create what = {
        .parent = number(p, 0),
        .name = text(p, 1),
        .type = (enum node_type)number(p, 2),
        .mode = p->count > 3 ? (uint32_t)number(p, 3) : 0644,
        .umask = p->count > 4 ? (uint32_t)number(p, 4) : 022,
        .uid = (uint32_t)number(p, 5),
        .gid = (uint32_t)number(p, 6),
        .rdev = (uint32_t)number(p, 7),
        .target = text(p, 8),
    };
    struct node_attr attr = {.ino = 0};
    struct err ignored = ERR_INIT;
    enum rc rc = meta_create(p->meta, &what, &attr, e);
    if (attr.ino && put_attr(p->out, &attr, &ignored))
        return err_fail(e, ignored.code, "%s", ignored.text);
    return rc;
}

/* Inode arguments from i on. */
static size_t inodes_from(const struct probe *p, int i, ino_num out[ARGUMENTS_MAX])
{
    size_t n = 0;
    for (; i < p->count; i++)
        out[n++] = number(p, i);
    return n;
}

static enum rc run_unlink(struct probe *p, struct err *e)
{
    ino_num opened[ARGUMENTS_MAX];
    size_t n = inodes_from(p, 3, opened);
    struct node_attr attr;
    if (meta_unlink(p->meta, number(p, 0), text(p, 1), opened, n, (uint32_t)number(p, 2), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_rmdir(struct probe *p, struct err *e)
{
    struct node_attr removed;
    return meta_rmdir(p->meta, number(p, 0), text(p, 1), (uint32_t)number(p, 2), &removed, e);
}

static enum rc run_rename(struct probe *p, struct err *e)
{
    ino_num opened[ARGUMENTS_MAX];
    size_t n = inodes_from(p, 6, opened);
    struct node_attr attr;
    if (meta_rename(p->meta, number(p, 0), text(p, 1), number(p, 2), text(p, 3),
                    (uint32_t)number(p, 4), opened, n, (uint32_t)number(p, 5), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_link(struct probe *p, struct err *e)
{
    struct node_attr attr;
    if (meta_link(p->meta, number(p, 0), number(p, 1), text(p, 2), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_readlink(struct probe *p, struct err *e)
{
    auto_buf struct buf target;
    buf_init(&target, META_SYMLINK_MAX);
    if (meta_readlink(p->meta, number(p, 0), &target, e))
        return e->code;
    return json_set_bytes(p->out, "target", buf_bytes(&target), e);
}

/* ---- files */

static enum rc run_getattr(struct probe *p, struct err *e)
{
    struct node_attr attr;
    if (meta_getattr(p->meta, number(p, 0), &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_access(struct probe *p, struct err *e)
{
    uint32_t gids[ARGUMENTS_MAX];
    size_t n = 0;
    for (int i = 3; i < p->count; i++)
        gids[n++] = (uint32_t)number(p, i);
    return meta_access(p->meta, number(p, 0), (uint32_t)number(p, 1), gids, n, (int)number(p, 2),
                       e);
}

static void set_member(struct meta_setattr *what, const char *name, uint64_t value)
{
    const struct timespec at = {.tv_sec = (time_t)(value / 1000000000),
                                .tv_nsec = (long)(value % 1000000000)};
    const struct {
        const char *name;
        uint32_t mask;
        uint32_t *number;
    } members[] = {
        {"mode", SETATTR_MODE, &what->mode},    {"uid", SETATTR_UID, &what->uid},
        {"gid", SETATTR_GID, &what->gid},       {"flags", SETATTR_FLAGS, &what->flags},
        {"atime-now", SETATTR_ATIME_NOW, NULL}, {"mtime-now", SETATTR_MTIME_NOW, NULL},
        {"kill-suid", SETATTR_KILL_SUID, NULL}, {"by-handle", SETATTR_BY_HANDLE, NULL},
        {"caller-uid", 0, &what->caller_uid},   {"caller-gid", 0, &what->caller_gid},
        {"length", SETATTR_LENGTH, NULL},       {"atime", SETATTR_ATIME, NULL},
        {"mtime", SETATTR_MTIME, NULL},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(name, members[i].name) != 0)
            continue;
        what->mask |= members[i].mask;
        if (members[i].number)
            *members[i].number = (uint32_t)value;
        if (members[i].mask == SETATTR_LENGTH)
            what->length = value;
        if (members[i].mask == SETATTR_ATIME)
            what->atime = at;
        if (members[i].mask == SETATTR_MTIME)
            what->mtime = at;
    }
}

static enum rc run_setattr(struct probe *p, struct err *e)
{
    struct meta_setattr what = {.ino = number(p, 0)};
    for (int i = 1; i < p->count; i++) {
        char name[32];
        size_t size = strcspn(p->arguments[i], "=");
        (void)snprintf(name, sizeof(name), "%.*s", (int)size, p->arguments[i]);
        const char *value = p->arguments[i] + size;
        set_member(&what, name, *value ? strtoull(value + 1, NULL, 0) : 0);
    }
    struct node_attr attr;
    if (meta_setattr(p->meta, &what, &attr, e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_fallocate(struct probe *p, struct err *e)
{
    struct node_attr attr;
    if (meta_fallocate(p->meta, number(p, 0), (int)number(p, 1), number(p, 2), number(p, 3), &attr,
                       e))
        return e->code;
    return put_attr(p->out, &attr, e);
}

static enum rc run_open(struct probe *p, struct err *e)
{
    struct meta_opened opened;
    if (meta_open_file(p->meta, number(p, 0), number(p, 1) != 0, &opened, e))
        return e->code;
    char digest[33];
    for (size_t i = 0; i < sizeof(opened.digest); i++)
        (void)snprintf(digest + 2 * i, 3, "%02x", opened.digest[i]);
    enum rc rc = put_attr(p->out, &opened.attr, e);
    if (!rc)
        rc = json_set_string(p->out, "digest", digest, e);
    if (!rc)
        rc = put_view(p->out, opened.view, e);
    chunk_view_unref(&opened.view);
    return rc;
}

static enum rc put_chunk(struct json *list, const struct chunk_view *view, struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (json_set_int(item, "indx", view->indx, e) || put_view(item, view, e))
        return e->code;
    return json_append(list, &item, e);
}

static enum rc run_slices(struct probe *p, struct err *e)
{
    struct chunk_view *views[16];
    uint32_t count = (uint32_t)number(p, 2);
    if (meta_slices(p->meta, number(p, 0), (uint32_t)number(p, 1), count, views, e))
        return e->code;
    auto_json struct json *list = json_array_new();
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (views[i] && !rc)
            rc = put_chunk(list, views[i], e);
        chunk_view_unref(&views[i]);
    }
    return rc ? rc : json_set(p->out, "chunks", &list, e);
}

/* A slice of made-up sums: there are no blocks in these tests. */
static enum rc run_write(struct probe *p, struct err *e)
{
    static uint32_t sums[META_CHUNK_BYTES / (256 << 10)];
    struct meta_written slice = {
        .indx = (uint32_t)number(p, 1),
        .pos = (uint32_t)number(p, 2),
        .size = (uint32_t)number(p, 3),
        .sums = sums,
        .sums_count = (uint32_t)(number(p, 3) + (256 << 10) - 1) / (256 << 10),
    };
    if (p->count > 4)
        slice.id = number(p, 4);
    else if (meta_new_slice_id(p->meta, &slice.id, e))
        return e->code;
    for (uint32_t i = 0; i < slice.sums_count; i++)
        sums[i] = crc32c(i, &slice.id, sizeof(slice.id));
    struct node_attr attr;
    struct lane doubt = {.sid = 0};
    if (meta_write(p->meta, number(p, 0), &slice, 1, clock_wall(), number(p, 5) != 0, &doubt, &attr,
                   e) ||
        put_attr(p->out, &attr, e))
        return e->code;
    return json_set_int(p->out, "slice", (int64_t)slice.id, e);
}

static enum rc run_release(struct probe *p, struct err *e)
{
    return meta_release(p->meta, number(p, 0), e);
}

static enum rc run_new_slice(struct probe *p, struct err *e)
{
    uint64_t id;
    if (meta_new_slice_id(p->meta, &id, e))
        return e->code;
    return json_set_int(p->out, "slice", (int64_t)id, e);
}

static enum rc run_getxattr(struct probe *p, struct err *e)
{
    auto_buf struct buf value;
    buf_init(&value, META_XATTR_MAX);
    if (meta_getxattr(p->meta, number(p, 0), p->arguments[1], &value, e))
        return e->code;
    return json_set_bytes(p->out, "value", buf_bytes(&value), e);
}

static enum rc run_listxattr(struct probe *p, struct err *e)
{
    auto_buf struct buf names;
    buf_init(&names, (size_t)META_XATTR_MAX * 4);
    if (meta_listxattr(p->meta, number(p, 0), &names, e))
        return e->code;
    for (size_t i = 0; i < names.size; i++)
        if (names.data[i] == '\0')
            names.data[i] = '\n';
    return json_set_bytes(p->out, "names", buf_bytes(&names), e);
}

static enum rc run_setxattr(struct probe *p, struct err *e)
{
    return meta_setxattr(p->meta, number(p, 0), p->arguments[1], text(p, 2), (int)number(p, 3), e);
}

static enum rc run_removexattr(struct probe *p, struct err *e)
{
    return meta_removexattr(p->meta, number(p, 0), p->arguments[1], e);
}

static enum rc run_statfs(struct probe *p, struct err *e)
{
    struct meta_statfs fs;
    if (meta_statfs(p->meta, &fs, e) ||
        json_set_int(p->out, "total_space", (int64_t)fs.total_space, e) ||
        json_set_int(p->out, "used_space", (int64_t)fs.used_space, e) ||
        json_set_int(p->out, "total_inodes", (int64_t)fs.total_inodes, e))
        return e->code;
    return json_set_int(p->out, "used_inodes", (int64_t)fs.used_inodes, e);
}

/* ---- the handle */

static enum rc run_refresh(struct probe *p, struct err *e)
{
    struct meta_vitals vitals;
    if (meta_refresh(p->meta, &vitals, e) ||
        json_set_int(p->out, "used_space", vitals.used_space, e) ||
        json_set_int(p->out, "used_inodes", vitals.used_inodes, e))
        return e->code;
    return json_set_bool(p->out, "format_changed", vitals.format_changed, e);
}

static enum rc run_renew(struct probe *p, struct err *e)
{
    return meta_session_renew(p->meta, e);
}

static enum rc run_flush(struct probe *p, struct err *e)
{
    return meta_flush_usage(p->meta, e);
}

static enum rc run_status(struct probe *p, struct err *e)
{
    int64_t space, inodes;
    meta_pending_usage(p->meta, &space, &inodes);
    const struct meta_site *site = meta_site(p->meta);
    if (json_set_int(p->out, "session", (int64_t)meta_session_id(p->meta), e) ||
        json_set_int(p->out, "pending_space", space, e) ||
        json_set_int(p->out, "pending_inodes", inodes, e) ||
        json_set_string(p->out, "site", site->name, e) ||
        json_set_string(p->out, "role", site->role, e) ||
        json_set_bool(p->out, "is_ready", site->is_ready, e))
        return e->code;
    return json_set_int(p->out, "exchanges", (int64_t)meta_exchanges(p->meta), e);
}

static enum rc run_stress(struct probe *p, struct err *e)
{
    struct meta_stress stress = {.threads = (unsigned)number(p, 0),
                                 .rounds = (unsigned)number(p, 1)};
    if (meta_stress_run(p->meta, &stress, e))
        return e->code;
    return json_set_int(p->out, "done", (int64_t)stress.done, e);
}

static enum rc run_help(struct probe *p, struct err *e);

static const struct verb verbs[] = {
    {"lookup", "PARENT NAME", run_lookup},
    {"resolve", "ROOT PATH", run_resolve},
    {"readdir", "DIR WITH-ATTR [AFTER COUNT]", run_readdir},
    {"create", "PARENT NAME TYPE [MODE UMASK UID GID RDEV TARGET]", run_create},
    {"unlink", "PARENT NAME [UID OPENED-INO...]", run_unlink},
    {"rmdir", "PARENT NAME [UID]", run_rmdir},
    {"rename", "PARENT NAME PARENT2 NAME2 [FLAGS UID OPENED-INO...]", run_rename},
    {"link", "INO PARENT NAME", run_link},
    {"readlink", "INO", run_readlink},
    {"getattr", "INO", run_getattr},
    {"access", "INO UID MASK [GID...]", run_access},
    {"setattr", "INO [mode=|uid=|gid=|flags=|length=|atime=|mtime=|caller-uid=...]", run_setattr},
    {"fallocate", "INO MODE OFF LEN", run_fallocate},
    {"open", "INO [FOR-WRITE]", run_open},
    {"slices", "INO FIRST COUNT", run_slices},
    {"write", "INO INDX POS SIZE [SLICE KILL-SUID]", run_write},
    {"release", "INO", run_release},
    {"new-slice", "", run_new_slice},
    {"getxattr", "INO NAME", run_getxattr},
    {"listxattr", "INO", run_listxattr},
    {"setxattr", "INO NAME VALUE [FLAGS]", run_setxattr},
    {"removexattr", "INO NAME", run_removexattr},
    {"statfs", "", run_statfs},
    {"refresh", "", run_refresh},
    {"renew", "", run_renew},
    {"flush", "", run_flush},
    {"status", "", run_status},
    {"stress", "THREADS ROUNDS", run_stress},
    {"help", "", run_help},
};

static enum rc run_help(struct probe *p, struct err *e)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (json_set_string(p->out, verbs[i].name, verbs[i].arguments, e))
            return e->code;
    return RC_OK;
}

/* Words before the optional part. */
static int needed(const char *arguments)
{
    int n = 0;
    for (const char *at = arguments; *at && *at != '['; n++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    return n;
}

static enum rc run_verb(struct probe *p, const char *name, struct err *e)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, name) != 0)
            continue;
        if (p->count < needed(verbs[i].arguments))
            return err_fail(e, RC_INVALID, "%s wants %s", name, verbs[i].arguments);
        return verbs[i].run(p, e);
    }
    return err_fail(e, RC_INVALID, "no verb \"%s\"", name);
}

static enum rc put_outcome(struct json *out, enum rc rc, const struct err *failure, struct err *e)
{
    if (json_set_bool(out, "ok", rc == RC_OK, e) || rc == RC_OK)
        return e->code;
    if (json_set_string(out, "code", rc_name(rc), e) ||
        (failure->posix && json_set_string(out, "errno", err_posix_name(failure->posix), e)))
        return e->code;
    return json_set_string(out, "text", failure->text, e);
}

static int print(const struct json *out, enum rc rc)
{
    struct err e = ERR_INIT;
    auto_buf struct buf line;
    buf_init(&line, (size_t)16 << 20);
    const char *shown;
    if (json_write(out, JSON_COMPACT, &line, &e) || buf_cstr(&line, &shown, &e)) {
        log_err(LOG_LEVEL_ERROR, &e, "cannot print");
        return 1;
    }
    (void)puts(shown);
    (void)fflush(stdout);
    return rc == RC_OK ? 0 : 1;
}

static int answer(struct probe *p, const char *verb)
{
    struct err failure = ERR_INIT, e = ERR_INIT;
    auto_json struct json *out = json_object_new();
    p->out = out;
    enum rc rc = run_verb(p, verb, &failure);
    if (put_outcome(out, rc, &failure, &e))
        log_err(LOG_LEVEL_ERROR, &e, "cannot answer");
    return print(out, rc);
}

/* Cut a line at its blanks. */
static const char *split(char *line, struct probe *p)
{
    char *rest = line;
    const char *verb = NULL;
    p->count = 0;
    for (char *word; (word = strsep(&rest, " \n")) != NULL;) {
        if (!*word)
            continue;
        if (!verb)
            verb = word;
        else if (p->count < ARGUMENTS_MAX)
            p->arguments[p->count++] = word;
    }
    return verb;
}

static void serve(struct probe *p)
{
    char line[LINE_BYTES_MAX];
    while (fgets(line, sizeof(line), stdin)) {
        const char *verb = split(line, p);
        if (verb)
            (void)answer(p, verb);
    }
}

static enum rc install(struct pg *pg, const char *name, const char *bucket, uint64_t deadline_ms,
                       struct err *e)
{
    const struct format_request request = {
        .name = name, .storage = "file", .bucket = bucket, .block_kib = 4096, .trash_days = 1};
    auto_buf struct buf row;
    buf_init(&row, 65536);
    const char *format;
    if (format_compose(&request, &row, e) || buf_cstr(&row, &format, e) ||
        meta_install_volume(pg, format, deadline_ms, e) || meta_install_site(pg, deadline_ms, e) ||
        meta_install_api(pg, deadline_ms, e))
        return e->code;
    auto_result struct pg_result *steps = NULL;
    const struct pg_param params[] = {pg_text(NULL)};
    return pg_call(pg, "SELECT * FROM tarn_1.adopt($1)", params, 1, deadline_ms, &steps, e);
}

/* The verbs that need no volume yet: format NAME BUCKET, install-api. */
static enum rc run_install(const char *url, char **words, int count, struct err *e)
{
    const uint64_t deadline_ms = clock_deadline(INSTALL_MS);
    const struct pg_options options = {.url = url, .application = "meta_install"};
    struct pg *pg = NULL;
    if (pg_open(&pg, &options, deadline_ms, e))
        return e->code;
    enum rc rc = count > 2 ? install(pg, words[1], words[2], deadline_ms, e)
                           : meta_install_api(pg, deadline_ms, e);
    pg_close(&pg);
    return rc;
}

static bool is_install(char **words, int count)
{
    return (count == 3 && strcmp(words[0], "format") == 0) ||
           (count == 1 && strcmp(words[0], "install-api") == 0);
}

static int print_outcome(enum rc rc, const struct err *failure)
{
    struct err e = ERR_INIT;
    auto_json struct json *out = json_object_new();
    if (put_outcome(out, rc, failure, &e))
        return 1;
    return print(out, rc);
}

/* Take the options off the front. Returns how many words they were. */
static int take_options(int argc, char **argv, struct meta_options *options)
{
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--read-only") == 0)
            options->is_read_only = true;
        else if (strcmp(argv[i], "--timeout-ms") == 0 && i + 1 < argc)
            options->timeout_ms = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--conns") == 0 && i + 1 < argc)
            options->max_conns = (unsigned)strtoul(argv[++i], NULL, 10);
    }
    return i;
}

int main(int argc, char **argv)
{
    struct meta_options options = {.application = "meta_probe", .max_conns = 2};
    struct err e = ERR_INIT;
    int at = take_options(argc, argv, &options);
    if (at >= argc) {
        (void)fputs("usage: meta_probe [--read-only] [--timeout-ms N] [--conns N] URL [VERB ...]\n",
                    stderr);
        return 2;
    }
    log_init("meta_probe", LOG_LEVEL_WARN, false);
    options.url = argv[at++];
    if (is_install(argv + at, argc - at))
        return print_outcome(run_install(options.url, argv + at, argc - at, &e), &e);

    struct probe p = {.meta = NULL};
    enum rc rc = meta_open(&p.meta, &options, &e);
    if (!rc && !options.is_read_only)
        rc = meta_session_begin(p.meta, "/probe", &e);
    int code = 0;
    if (rc) {
        code = print_outcome(rc, &e);
    } else if (at < argc) {
        for (int i = at + 1; i < argc && p.count < ARGUMENTS_MAX; i++)
            p.arguments[p.count++] = argv[i];
        code = answer(&p, argv[at]);
    } else {
        serve(&p);
    }
    meta_close(&p.meta);
    return code;
}
