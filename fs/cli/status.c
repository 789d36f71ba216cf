/*
 * tarn status: a volume as a whole: its format (without secrets), its site, its usage, who has it
 * mounted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/cli/print.h"
#include "fs/cli/verbs.h"
#include "fs/meta/file.h"
#include "fs/meta/inspect.h"
#include "fs/meta/statfs.h"
#include "fs/meta/upkeep.h"
#include "fs/volume/volume.h"

#define UPKEEP_BYTES_MAX ((size_t)1 << 20)

struct status_options {
    bool json, sums;
};

static const struct conf_option options[] = {
    {.name = "sums",
     .type = CONF_FLAG,
     .offset = offsetof(struct status_options, sums),
     .help = "count the slices without a sum as well (reads the whole table of slices)"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct status_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn status",
    .arguments = "META-URL",
    .summary = "Show a volume: format, site, usage, sessions and background jobs.",
    .details = "Exit codes: 0 shown, 2 wrong command line, 3 PostgreSQL unreachable, 4 wrong\n"
               "password, 5 no volume in the database.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* Set a string, leaving the member out when there is none. */
static enum rc set_given(struct json *o, const char *name, const char *value, struct err *e)
{
    return value && *value ? json_set_string(o, name, value, e) : RC_OK;
}

static enum rc describe_format(struct meta *meta, struct json *doc, struct err *e)
{
    struct format *f = meta_format_ref(meta);
    auto_json struct json *o = json_object_new();
    enum rc rc = o ? RC_OK : err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (rc || json_set_string(o, "name", f->name, e) || json_set_string(o, "uuid", f->uuid, e) ||
        json_set_string(o, "storage", f->storage, e) ||
        json_set_string(o, "bucket", f->bucket, e) ||
        json_set_int(o, "block_bytes", f->block_bytes, e) ||
        set_given(o, "compression", f->compression, e) ||
        json_set_int(o, "trash_days", f->trash_days, e) ||
        json_set_int(o, "capacity", (int64_t)f->capacity, e) ||
        json_set_int(o, "inodes", (int64_t)f->inodes, e) ||
        json_set_bool(o, "encrypted", f->encrypt_key != NULL, e) || json_set(doc, "volume", &o, e))
        rc = e->code;
    meta_format_unref(meta, &f);
    return rc;
}

static enum rc describe_site(struct meta *meta, struct json *doc, struct err *e)
{
    const struct meta_site *site = meta_site(meta);
    auto_json struct json *o = json_object_new();
    if (!o)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (set_given(o, "site", site->name, e) || set_given(o, "role", site->role, e) ||
        set_given(o, "state", site->state, e) || json_set_int(o, "epoch", site->epoch, e) ||
        json_set_bool(o, "ready", site->is_ready, e) ||
        set_given(o, "local_bucket", site->local_bucket, e) ||
        set_given(o, "origin_bucket", site->origin_bucket, e))
        return e->code;
    return json_set(doc, "site", &o, e);
}

static enum rc describe_usage(struct meta *meta, bool with_sums, struct json *doc, struct err *e)
{
    struct meta_statfs fs;
    uint64_t slices, without_sum;
    auto_json struct json *o = json_object_new();
    if (!o)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (meta_statfs(meta, &fs, e) || json_set_int(o, "used_space", (int64_t)fs.used_space, e) ||
        json_set_int(o, "used_inodes", (int64_t)fs.used_inodes, e))
        return e->code;
    if (with_sums && (meta_count_unsummed(meta, &slices, &without_sum, e) ||
                      json_set_int(o, "slices", (int64_t)slices, e) ||
                      json_set_int(o, "slices_without_sum", (int64_t)without_sum, e)))
        return e->code;
    return json_set(doc, "usage", &o, e);
}

/* The last runs of the volume's jobs, and what waits for deletion. */
static enum rc describe_upkeep(struct meta *meta, struct json *doc, struct err *e)
{
    auto_buf struct buf text;
    auto_json struct json *o = NULL;
    buf_init(&text, UPKEEP_BYTES_MAX);
    if (meta_upkeep_status(meta, &text, e) || json_parse(buf_bytes(&text), &o, e))
        return e->code;
    return json_set(doc, "upkeep", &o, e);
}

struct session_list {
    struct json *items;
    struct err *e;
};

static void add_session(const struct meta_session_row *row, void *arg)
{
    struct session_list *list = arg;
    struct err ignored = ERR_INIT;
    auto_json struct json *info = NULL;
    auto_json struct json *o = json_object_new();
    /* Whatever another client wrote there: shown when it parses, left out when not. */
    (void)!json_parse(row->info, &info, &ignored);
    if (list->e->code || !o)
        return;
    if (json_set_int(o, "sid", (int64_t)row->sid, list->e) ||
        json_set_bool(o, "stale", row->is_stale, list->e) ||
        (info && (set_given(o, "host", json_get_string(info, "HostName", NULL), list->e) ||
                  set_given(o, "mount_point", json_get_string(info, "MountPoint", NULL), list->e) ||
                  set_given(o, "version", json_get_string(info, "Version", NULL), list->e) ||
                  json_set_int(o, "pid", json_get_int(info, "ProcessID", 0), list->e))))
        return;
    (void)!json_append(list->items, &o, list->e);
}

static enum rc describe_sessions(struct meta *meta, struct json *doc, struct err *e)
{
    auto_json struct json *items = json_array_new();
    if (!items)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    struct session_list list = {items, e};
    if (meta_sessions(meta, add_session, &list, e) || e->code)
        return e->code;
    return json_set(doc, "sessions", &items, e);
}

static enum rc show(const char *url, const struct status_options *o, struct err *e)
{
    const struct meta_options options_of_meta = {
        .url = url, .application = "tarn status", .is_read_only = true};
    struct meta *meta = NULL;
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    enum rc rc = meta_open(&meta, &options_of_meta, e);
    if (!rc && (describe_format(meta, doc, e) || describe_site(meta, doc, e) ||
                describe_usage(meta, o->sums, doc, e) || describe_sessions(meta, doc, e) ||
                describe_upkeep(meta, doc, e) || print_document(doc, o->json, e)))
        rc = e->code;
    meta_close(&meta);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    return url_check(arguments[0], e) ? e->code : show(arguments[0], into, e);
}

int command_status(int argc, char **argv)
{
    struct status_options o;
    return command_run(&command, &o, work, argc, argv);
}
