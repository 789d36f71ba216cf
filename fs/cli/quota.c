/*
 * tarn quota: limits of directories, users and groups.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/cli/table.h"
#include "fs/cli/verbs.h"
#include "fs/meta/format_edit.h"
#include "fs/meta/inspect.h"
#include "fs/meta/namespace.h"
#include "fs/meta/quota.h"
#include "fs/meta/settings.h"

#define CALL_MS        60000
#define COUNT_MS       3600000 /* a recount may walk a large tree */
#define PATH_BYTES_MAX ((size_t)1 << 20)

struct quota_options {
    const char *path, *capacity;
    int64_t inodes, uid, gid;
    bool create, repair, strict, json;
};

#define AT(member) .offset = offsetof(struct quota_options, member)
static const struct conf_option options[] = {
    {.name = "path",
     .type = CONF_STRING,
     .help = "directory, from the root of the volume",
     AT(path)},
    {.name = "uid",
     .type = CONF_INT,
     .default_text = "-1",
     .min = -1,
     .max = UINT32_MAX,
     .help = "user",
     AT(uid)},
    {.name = "gid",
     .type = CONF_INT,
     .default_text = "-1",
     .min = -1,
     .max = UINT32_MAX,
     .help = "group",
     AT(gid)},
    {.name = "capacity",
     .type = CONF_STRING,
     .help = "limit of space; a plain number is in GiB, 0 is no limit",
     AT(capacity)},
    {.name = "inodes",
     .type = CONF_INT,
     .default_text = "-1",
     .min = -1,
     .max = INT64_MAX,
     .help = "limit of the number of inodes; 0 is no limit",
     AT(inodes)},
    {.name = "create",
     .type = CONF_FLAG,
     .help = "make the directory when it is missing",
     AT(create)},
    {.name = "repair",
     .type = CONF_FLAG,
     .help = "correct usage that is not what a count gives",
     AT(repair)},
    {.name = "strict",
     .type = CONF_FLAG,
     .help = "accepted for scripts: usage is always counted exactly",
     AT(strict)},
    {.name = "json", .type = CONF_FLAG, .help = "print JSON", AT(json)},
};

static const struct conf_command command = {
    .name = "tarn quota",
    .arguments = "set|get|delete|list|check META-URL",
    .summary = "Limit the space and inodes of directories, users and groups.",
    .details =
        "  tarn quota set postgres://… --path /projects/a --capacity 100 --inodes 1000000\n"
        "  tarn quota set postgres://… --uid 1000 --capacity 2T\n"
        "  tarn quota check postgres://… --path /projects/a --repair\n"
        "\n"
        "A directory's quota counts all that is below it, hard links once each. `set` counts\n"
        "what is there and is in force at once; stock clients follow within 12 seconds. The first\n"
        "quota of a user or group turns on the setting UserGroupQuota. `check` without --path is\n"
        "about all users and groups. Limits are soft by what a mount has not flushed, at most\n"
        "one second of its work.\n"
        "\n"
        "Exit codes: 0 done, 1 failed or inconsistent, 2 wrong command line, 3 PostgreSQL\n"
        "unreachable, 4 wrong password, 5 no volume in the database, 6 not the primary.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};

/* A running command: what it is about, and what it shows. */
struct quota_job {
    const struct quota_options *o;
    const char *url;
    struct meta *meta;
    enum quota_type type;
    uint64_t key;
    struct table *table;
    struct json *items;
    uint64_t wrong; /* of check: rows whose usage is not what a count gives */
};

/* ------------------------------------------------------------------------------------- showing */

/* "/a/b", "inode:7" of a directory without a path, "uid:7", "gid:7". */
static enum rc label_of(struct quota_job *job, const struct quota *q, struct buf *out,
                        struct err *e)
{
    if (q->type == QUOTA_DIR)
        return meta_path_shown(job->meta, q->key, out, e);
    return buf_addf(out, e, "%s:%" PRIu64, q->type == QUOTA_USER ? "uid" : "gid", q->key);
}

static void limit_cells(int64_t max, int64_t used, bool is_size, char limit[HUMAN_BYTES],
                        char share[HUMAN_BYTES])
{
    if (max <= 0) {
        snprintf(limit, HUMAN_BYTES, "unlimited");
        share[0] = '\0';
        return;
    }
    if (is_size)
        human_size(limit, (uint64_t)max);
    else
        human_count(limit, (uint64_t)max);
    snprintf(share, HUMAN_BYTES, "%.0f%%", (double)used * 100 / (double)max);
}

static enum rc add_line(struct quota_job *job, const struct quota *q, const char *label,
                        struct err *e)
{
    char size[HUMAN_BYTES], used[HUMAN_BYTES], share[HUMAN_BYTES];
    char inodes[HUMAN_BYTES], iused[HUMAN_BYTES], ishare[HUMAN_BYTES];
    const int64_t space = q->used_space > 0 ? q->used_space : 0;
    const int64_t count = q->used_inodes > 0 ? q->used_inodes : 0;
    limit_cells(q->max_space, space, true, size, share);
    limit_cells(q->max_inodes, count, false, inodes, ishare);
    human_size(used, (uint64_t)space);
    human_count(iused, (uint64_t)count);
    return table_add(job->table,
                     (const char *const[]){label, size, used, share, inodes, iused, ishare}, e);
}

static enum rc add_item(struct quota_job *job, const struct quota *q, const char *label,
                        bool with_count, struct err *e)
{
    static const char *const keys[] = {"path", "uid", "gid"};
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc =
        q->type == QUOTA_DIR
            ? json_set_bytes(item, "path", (struct bytes){(const uint8_t *)label, strlen(label)}, e)
            : json_set_int(item, keys[q->type], (int64_t)q->key, e);
    if (rc || json_set_int(item, "max_space", q->max_space, e) ||
        json_set_int(item, "max_inodes", q->max_inodes, e) ||
        json_set_int(item, "used_space", q->used_space, e) ||
        json_set_int(item, "used_inodes", q->used_inodes, e))
        return e->code;
    if (with_count && (json_set_int(item, "counted_space", q->real_space, e) ||
                       json_set_int(item, "counted_inodes", q->real_inodes, e)))
        return e->code;
    return json_append(job->items, &item, e);
}

static enum rc add_quota(struct quota_job *job, const struct quota *q, bool with_count,
                         struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, PATH_BYTES_MAX);
    const char *label;
    if (label_of(job, q, &text, e) || buf_cstr(&text, &label, e))
        return e->code;
    return job->o->json ? add_item(job, q, label, with_count, e) : add_line(job, q, label, e);
}

static enum rc show(struct quota_job *job, struct err *e)
{
    if (!job->o->json) {
        table_print(job->table, stdout);
        return RC_OK;
    }
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    return json_set(doc, "quotas", &job->items, e) ? e->code : json_print(doc, stdout, e);
}

/* ------------------------------------------------------------------------------------ the words */

static enum rc visit_one(const struct quota *q, void *arg, struct err *e)
{
    return add_quota(arg, q, false, e);
}

/* Rows without any limit are only there to be counted in. */
static enum rc visit_limited(const struct quota *q, void *arg, struct err *e)
{
    if (q->max_space == -1 && q->max_inodes == -1)
        return RC_OK;
    return add_quota(arg, q, false, e);
}

static enum rc get(struct quota_job *job, struct err *e)
{
    if (meta_quotas(job->meta, job->type, job->key, visit_one, job, e))
        return e->code;
    return show(job, e);
}

static enum rc turn_on_owners(struct buf *row, UNUSED void *arg, struct err *e)
{
    return format_edit_bool(row, "UserGroupQuota", true, e);
}

static enum rc turn_on_dir_stats(struct buf *row, UNUSED void *arg, struct err *e)
{
    return format_edit_bool(row, "DirStats", true, e);
}

/* Quotas of directories need statistics of directories, the others have a setting of their own. */
static enum rc turn_on(struct quota_job *job, struct err *e)
{
    struct pg *pg = NULL;
    bool is_changed;
    if (settings_connect(&pg, job->url, "tarn quota", true, clock_deadline(CALL_MS), e))
        return e->code;
    enum rc rc = settings_change(pg, job->type == QUOTA_DIR ? turn_on_dir_stats : turn_on_owners,
                                 NULL, clock_deadline(COUNT_MS), &is_changed, e);
    pg_close(&pg);
    return rc ? err_note(e, "could not turn on the setting for quotas") : RC_OK;
}

static enum rc set(struct quota_job *job, struct err *e)
{
    int64_t space = QUOTA_UNCHANGED;
    if (job->o->capacity && conf_parse_size(job->o->capacity, 1 << 30, &space, e))
        return err_note(e, "option --capacity");
    const int64_t inodes = job->o->inodes < 0 ? QUOTA_UNCHANGED : job->o->inodes;
    if (turn_on(job, e) || meta_quota_set(job->meta, job->type, job->key, space, inodes, e))
        return e->code;
    return get(job, e);
}

static enum rc check_one(const struct quota *q, void *arg, struct err *e)
{
    struct quota_job *job = arg;
    auto_buf struct buf text;
    buf_init(&text, PATH_BYTES_MAX);
    const char *label;
    if (q->used_space == q->real_space && q->used_inodes == q->real_inodes)
        return job->type == QUOTA_DIR ? add_quota(job, q, true, e) : RC_OK;
    job->wrong++;
    if (label_of(job, q, &text, e) || buf_cstr(&text, &label, e))
        return e->code;
    if (!job->o->json)
        printf("%s: used %" PRId64 " bytes, %" PRId64 " inodes; counted %" PRId64 " bytes, %" PRId64
               " inodes\n",
               label, q->used_space, q->used_inodes, q->real_space, q->real_inodes);
    return add_quota(job, q, true, e);
}

/* Owners are only counted where the volume has that turned on. */
static enum rc check_counting(struct quota_job *job, struct err *e)
{
    struct format *format = meta_format_ref(job->meta);
    const bool is_counting = format->user_group_quota;
    meta_format_unref(job->meta, &format);
    return is_counting ? RC_OK
                       : err_fail(e, RC_INVALID,
                                  "users and groups are not counted on this volume; their first "
                                  "quota turns that on");
}

static enum rc check(struct quota_job *job, struct err *e)
{
    if (job->type != QUOTA_DIR && check_counting(job, e))
        return e->code;
    const enum quota_type type = job->type == QUOTA_ANY ? QUOTA_USER : job->type;
    if (meta_quota_counts(job->meta, type, job->key, check_one, job, e) || show(job, e))
        return e->code;
    if (job->wrong && job->o->repair)
        return meta_quota_repair(job->meta, type, job->key, e);
    if (job->wrong)
        return err_fail(e, RC_CORRUPT,
                        "%" PRIu64 " quotas are not what a count gives; add --repair", job->wrong);
    return RC_OK;
}

static enum rc list(struct quota_job *job, struct err *e)
{
    if (meta_quotas(job->meta, job->type, job->key, visit_limited, job, e))
        return e->code;
    return show(job, e);
}

static enum rc drop(struct quota_job *job, struct err *e)
{
    if (meta_quota_delete(job->meta, job->type, job->key, e))
        return e->code;
    return job->o->json ? show(job, e) : RC_OK;
}

static const struct word {
    const char *name;
    enum rc (*run)(struct quota_job *job, struct err *e);
    bool needs_target, writes;
} words[] = {
    {"set", set, true, true},       {"get", get, true, false},    {"delete", drop, true, true},
    {"del", drop, true, true},      {"list", list, false, false}, {"ls", list, false, false},
    {"check", check, false, false},
};

/* ---------------------------------------------------------------------------------- the target */

/* Make what is missing of a path, as `mkdir -p`. */
static enum rc make_dirs(struct meta *meta, const char *path, struct node_attr *out, struct err *e)
{
    const mode_t mask = umask(0);
    umask(mask);
    *out = (struct node_attr){.ino = META_ROOT, .type = NODE_DIRECTORY};
    for (const char *at = path; *at;) {
        const size_t size = strcspn(at, "/");
        const struct meta_create what = {
            .parent = out->ino,
            .name = {(const uint8_t *)at, size},
            .type = NODE_DIRECTORY,
            .mode = 0777,
            .umask = mask,
            .uid = geteuid(),
            .gid = getegid(),
        };
        if (size && meta_create(meta, &what, out, e) && e->posix != EEXIST)
            return err_note(e, "could not make \"%s\"", path);
        if (size && out->type != NODE_DIRECTORY)
            return err_refused(e, ENOTDIR, "\"%s\"", path);
        *e = ERR_INIT;
        at += size + (at[size] == '/');
    }
    return RC_OK;
}

static enum rc find_directory(struct quota_job *job, struct err *e)
{
    struct node_attr attr;
    const char *path = job->o->path;
    const struct bytes name = {(const uint8_t *)path, strlen(path)};
    enum rc rc = meta_resolve(job->meta, META_ROOT, name, &attr, e);
    if (rc && e->posix == ENOENT && job->o->create) {
        *e = ERR_INIT;
        rc = meta_session_begin(job->meta, "", e);
        if (!rc)
            rc = make_dirs(job->meta, path, &attr, e);
    }
    if (rc)
        return rc;
    if (attr.type != NODE_DIRECTORY)
        return err_refused(e, ENOTDIR, "\"%s\"", path);
    job->key = attr.ino;
    return RC_OK;
}

/* What the options name: one of them, or with list and check none. */
static enum rc choose_type(struct quota_job *job, const struct word *word, struct err *e)
{
    const struct quota_options *o = job->o;
    const int given = (o->path != NULL) + (o->uid >= 0) + (o->gid >= 0);
    if (given > 1)
        return err_fail(e, RC_INVALID, "give one of --path, --uid and --gid");
    if (given == 0 && word->needs_target)
        return err_fail(e, RC_INVALID, "give one of --path, --uid and --gid");
    if (o->uid == 0 && word->needs_target)
        return err_fail(e, RC_INVALID, "user 0 can have no quota");
    job->type = o->path       ? QUOTA_DIR
                : o->uid >= 0 ? QUOTA_USER
                : o->gid >= 0 ? QUOTA_GROUP
                              : QUOTA_ANY;
    job->key = (uint64_t)(o->uid >= 0 ? o->uid : o->gid >= 0 ? o->gid : 0);
    return RC_OK;
}

static enum rc run(struct quota_job *job, const struct word *word, struct err *e)
{
    static const char *const heading[] = {"Path",   "Size",  "Used", "Use%",
                                          "Inodes", "IUsed", "IUse%"};
    const bool is_writing = word->writes || job->o->repair;
    const struct meta_options meta_options = {.url = job->url,
                                              .application = "tarn quota",
                                              .timeout_ms = COUNT_MS,
                                              .is_read_only = !is_writing};
    job->items = json_array_new();
    if (!job->items)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (table_open(&job->table, sizeof(heading) / sizeof(heading[0]), e) ||
        table_add(job->table, heading, e) || meta_open(&job->meta, &meta_options, e))
        return e->code;
    if (job->type == QUOTA_DIR && find_directory(job, e))
        return e->code;
    return word->run(job, e);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    struct quota_job job = {.o = into, .url = arguments[1]};
    const struct word *word = NULL;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(arguments[0], words[i].name) == 0)
            word = &words[i];
    if (!word) {
        err_fail(e, RC_INVALID, "\"%s\" is not set, get, delete, list or check", arguments[0]);
        return err_exits(e, EXIT_USAGE);
    }
    if (choose_type(&job, word, e))
        return err_exits(e, EXIT_USAGE);
    enum rc rc = url_check(job.url, e) ? e->code : run(&job, word, e);
    meta_close(&job.meta);
    table_close(&job.table);
    json_free(&job.items);
    return rc;
}

int command_quota(int argc, char **argv)
{
    struct quota_options o;
    return command_run(&command, &o, work, argc, argv);
}
