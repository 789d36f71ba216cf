/*
 * tarn fsck: what is wrong with a volume, one line each.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/cli/print.h"
#include "fs/cli/verbs.h"
#include "fs/meta/inspect.h"
#include "fs/meta/namespace.h"
#include "fs/upkeep/fsck.h"

#define EXIT_PROBLEMS 8
#define EXIT_REPAIRED 9
#define PATH_BYTES    ((size_t)4 << 20)

struct fsck_command {
    const char *path, *bucket;
    bool repairs, is_recursive, syncs_stats, checks_sums, json;
    int64_t threads, settle_ms;
};

static const struct conf_option options[] = {
    {.name = "path",
     .type = CONF_STRING,
     .offset = offsetof(struct fsck_command, path),
     .help = "absolute path within the volume to check instead of all of it"},
    {.name = "recursive",
     .letter = 'r',
     .type = CONF_FLAG,
     .offset = offsetof(struct fsck_command, is_recursive),
     .help = "with --path: the whole tree below it"},
    {.name = "repair",
     .type = CONF_FLAG,
     .offset = offsetof(struct fsck_command, repairs),
     .help = "mend what can be mended; lost places go to /.tarn-lost"},
    {.name = "sync-dir-stat",
     .type = CONF_FLAG,
     .offset = offsetof(struct fsck_command, syncs_stats),
     .help = "count directories that have no statistics, and correct statistics and counters"},
    {.name = "checksum",
     .type = CONF_FLAG,
     .offset = offsetof(struct fsck_command, checks_sums),
     .help = "read every block and compare its sum; with --repair keep the sums that are missing"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 256,
     .offset = offsetof(struct fsck_command, threads),
     .help = "threads that look at blocks"},
    {.name = "settle",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "2500ms",
     .min = 0,
     .max = 3600000,
     .offset = offsetof(struct fsck_command, settle_ms),
     .help = "how long statistics and counters that differ must stand still before they are wrong"},
    {.name = "bucket",
     .type = CONF_STRING,
     .offset = offsetof(struct fsck_command, bucket),
     .help = "where the objects are, instead of what the volume says"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct fsck_command, json),
     .help = "print one JSON object on each line: the problems, then the sums"},
};

static const struct conf_command command = {
    .name = "tarn fsck",
    .arguments = "META-URL",
    .summary = "Check that every block is there and that the metadata agrees with itself.",
    .details =
        "Clients may go on working: what is found is looked at again before it is shown. Without\n"
        "--repair, --sync-dir-stat and --checksum nothing but rows and names is read, and nothing\n"
        "is written. --repair never deletes data; the runbook lists every kind of problem and\n"
        "what becomes of it.\n"
        "\n"
        "Exit codes: 0 no problem, 1 failed, 2 wrong command line, 3 PostgreSQL or the bucket\n"
        "does not answer, 4 wrong password, 5 no volume in the database, 6 a repair at a\n"
        "mirror, 7 bucket missing or another volume's, 8 problems are left, 9 problems were\n"
        "found and all of them repaired.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct show {
    struct meta *meta;
    bool json;
    struct err *e;
};

static enum rc print_line(const struct json *doc, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, PATH_BYTES * 2);
    const char *line;
    if (json_write(doc, JSON_COMPACT, &text, e) || buf_cstr(&text, &line, e))
        return e->code;
    puts(line);
    return RC_OK;
}

static enum rc show_json(const struct fsck_problem *p, struct bytes path, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_string(doc, "kind", p->kind, e) ||
        (p->ino && (json_set_int(doc, "inode", (int64_t)p->ino, e) ||
                    json_set_bytes(doc, "path", path, e))) ||
        (p->slice && json_set_int(doc, "slice", (int64_t)p->slice, e)) ||
        json_set_int(doc, "have", p->have, e) || json_set_int(doc, "want", p->want, e) ||
        json_set_string(doc, "text", p->text, e) ||
        json_set_bool(doc, "repaired", p->is_repaired, e))
        return e->code;
    return print_line(doc, e);
}

static void show_text(const struct fsck_problem *p, struct bytes path)
{
    printf("%s: ", p->kind);
    if (p->ino)
        printf("%13" PRIu64 ": %.*s: ", p->ino, (int)path.size, (const char *)path.data);
    printf("%s%s\n", p->text, p->is_repaired ? " (repaired)" : "");
}

static void on_problem(const struct fsck_problem *problem, void *arg)
{
    struct show *show = arg;
    struct err e = ERR_INIT;
    auto_buf struct buf path;
    buf_init(&path, PATH_BYTES);
    if (problem->ino && meta_path_shown(show->meta, problem->ino, &path, &e))
        log_err(LOG_LEVEL_WARN, &e, "a path cannot be shown");
    if (!show->json)
        show_text(problem, buf_bytes(&path));
    else if (show_json(problem, buf_bytes(&path), show->e))
        log_err(LOG_LEVEL_WARN, show->e, "a problem cannot be shown");
}

static enum rc sums_json(const struct fsck_report *r, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"slices", r->slices},
                   {"slice_bytes", r->slice_bytes},
                   {"blocks", r->blocks},
                   {"block_bytes", r->block_bytes},
                   {"lost_blocks", r->lost_blocks},
                   {"lost_bytes", r->lost_bytes},
                   {"broken_files", r->broken_files},
                   {"slices_without_sums", r->unsummed},
                   {"sums_kept", r->summed},
                   {"directories_counted", r->filled_stats},
                   {"problems", r->problems},
                   {"repaired", r->repaired}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (json_set_int(doc, numbers[i].name, (int64_t)numbers[i].value, e))
            return e->code;
    return print_line(doc, e);
}

static void sums_text(const struct fsck_report *r)
{
    printf("Found %" PRIu64 " blocks (%" PRIu64 " bytes)\n", r->blocks, r->block_bytes);
    printf("Used by %" PRIu64 " slices (%" PRIu64 " bytes)\n", r->slices, r->slice_bytes);
    if (r->lost_blocks)
        printf("%" PRIu64 " objects are lost (%" PRIu64 " bytes), %" PRIu64 " broken files\n",
               r->lost_blocks, r->lost_bytes, r->broken_files);
    if (r->unsummed)
        printf("%" PRIu64 " slices without a sum, %" PRIu64 " were given one\n", r->unsummed,
               r->summed);
    if (r->filled_stats)
        printf("%" PRIu64 " directories were counted\n", r->filled_stats);
}

static enum rc verdict(const struct fsck_report *r, struct err *e)
{
    if (r->problems == 0)
        return RC_OK;
    const uint64_t left = r->problems - r->repaired;
    if (left)
        err_fail(e, RC_CORRUPT, "%" PRIu64 " problems were found, %" PRIu64 " of them repaired",
                 r->problems, r->repaired);
    else
        err_fail(e, RC_CORRUPT, "%" PRIu64 " problems were found and repaired", r->problems);
    return err_exits(e, left ? EXIT_PROBLEMS : EXIT_REPAIRED);
}

/* The inode to begin at; 0 for the whole volume. */
static enum rc find_top(struct meta *meta, const char *path, ino_num *out, struct err *e)
{
    *out = 0;
    if (!path)
        return RC_OK;
    if (path[0] != '/')
        return err_fail(e, RC_INVALID, "\"%s\" is no absolute path within the volume", path);
    struct node_attr attr;
    if (meta_resolve(meta, META_ROOT, (struct bytes){(const uint8_t *)path + 1, strlen(path) - 1},
                     &attr, e))
        return e->code;
    *out = attr.ino;
    return RC_OK;
}

/* What a mirror holds is repaired where it comes from. */
static enum rc may_write(struct meta *meta, const struct fsck_command *o, struct err *e)
{
    if ((!o->repairs && !o->syncs_stats) || strcmp(meta_site(meta)->role, "primary") == 0)
        return RC_OK;
    err_fail(e, RC_INVALID, "this site is a mirror: repair the volume at its primary");
    return err_exits(e, EXIT_NOT_READY);
}

static enum rc check(struct volume *volume, const struct fsck_command *o, struct err *e)
{
    struct fsck_options of_fsck = {.is_recursive = o->is_recursive,
                                   .repairs = o->repairs,
                                   .syncs_stats = o->syncs_stats,
                                   .checks_sums = o->checks_sums,
                                   .threads = (unsigned)o->threads,
                                   .settle_ms = (uint64_t)o->settle_ms};
    struct err print = ERR_INIT;
    struct show show = {volume_meta(volume), o->json, &print};
    struct fsck_report report;
    if (may_write(volume_meta(volume), o, e) ||
        find_top(volume_meta(volume), o->path, &of_fsck.top, e) ||
        fsck_run(volume, &of_fsck, on_problem, &show, &report, e))
        return e->code;
    if (!o->json)
        sums_text(&report);
    else if (sums_json(&report, e))
        return e->code;
    return verdict(&report, e);
}

static enum rc run(const char *url, const struct fsck_command *o, struct err *e)
{
    const struct volume_options of_volume = {
        .meta = {.url = url, .application = "tarn fsck", .is_read_only = true},
        .bucket = o->bucket,
        .checks_uuid = true};
    struct volume *volume = NULL;
    if (volume_open(&volume, &of_volume, e))
        return e->code;
    enum rc rc = check(volume, o, e);
    volume_close(&volume);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    return url_check(arguments[0], e) ? e->code : run(arguments[0], into, e);
}

int command_fsck(int argc, char **argv)
{
    struct fsck_command o;
    return command_run(&command, &o, work, argc, argv);
}
