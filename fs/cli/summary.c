/*
 * tarn summary: the largest entries of a tree.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/cli/table.h"
#include "fs/cli/talk.h"
#include "fs/cli/verbs.h"

#define ANSWER_BYTES_MAX ((size_t)256 << 20)
#define NUMBER_BYTES     24

struct summary_options {
    bool strict, csv, json;
    int64_t depth, entries;
};

static const struct conf_option options[] = {
    {.name = "depth",
     .letter = 'd',
     .type = CONF_INT,
     .default_text = "2",
     .min = 0,
     .max = 10,
     .offset = offsetof(struct summary_options, depth),
     .help = "levels to show; 0: the directory alone"},
    {.name = "entries",
     .letter = 'e',
     .type = CONF_INT,
     .default_text = "10",
     .min = 0,
     .max = 100,
     .offset = offsetof(struct summary_options, entries),
     .help = "largest entries of each directory to show"},
    {.name = "strict",
     .type = CONF_FLAG,
     .offset = offsetof(struct summary_options, strict),
     .help = "count every file instead of relying on the volume's statistics"},
    {.name = "csv",
     .type = CONF_FLAG,
     .offset = offsetof(struct summary_options, csv),
     .help = "print CSV, sizes in bytes"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct summary_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn summary",
    .arguments = "PATH",
    .summary = "Show what a directory holds, the largest first.",
    .details = "Exit codes: 0 shown, 1 failed, 2 wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc add_row(struct table *table, const struct json *tree, bool is_csv, struct err *e)
{
    enum { DIRECTORY = 2 };
    char size[HUMAN_BYTES], dirs[NUMBER_BYTES], files[NUMBER_BYTES];
    auto_buf struct buf path;
    buf_init(&path, 1 << 20);
    const char *shown, *given = json_get_string(tree, "Path", "");
    const size_t length = strlen(given);
    const bool needs_slash =
        json_get_int(tree, "Type", 0) == DIRECTORY && (length == 0 || given[length - 1] != '/');
    if (buf_add_str(&path, given, e) || (needs_slash && buf_add_str(&path, "/", e)) ||
        buf_cstr(&path, &shown, e))
        return e->code;
    const int64_t bytes = json_get_int(tree, "Size", 0);
    if (is_csv)
        snprintf(size, sizeof(size), "%" PRId64, bytes);
    else
        human_size(size, (uint64_t)bytes);
    snprintf(dirs, sizeof(dirs), "%" PRId64, json_get_int(tree, "Dirs", 0));
    snprintf(files, sizeof(files), "%" PRId64, json_get_int(tree, "Files", 0));
    return table_add(table, (const char *const[]){shown, size, dirs, files}, e);
}

static enum rc add_rows(struct table *table, const struct json *tree, bool is_csv, struct err *e)
{
    if (add_row(table, tree, is_csv, e))
        return e->code;
    const struct json *children = json_get(tree, "Children");
    for (size_t i = 0; children && i < json_length(children); i++)
        if (add_rows(table, json_at(children, i), is_csv, e))
            return e->code;
    return RC_OK;
}

static enum rc print(const struct summary_options *o, struct bytes answer, struct err *e)
{
    static const char *const headings[] = {"PATH", "SIZE", "DIRS", "FILES"};
    auto_json struct json *doc = NULL;
    auto_table struct table *table = NULL;
    if (json_parse(answer, &doc, e))
        return e->code;
    const int64_t refusal = json_get_int(doc, "Errno", 0);
    const struct json *tree = json_get(doc, "Tree");
    if (refusal)
        return err_refused(e, (int)refusal, "the mount refused");
    if (!tree)
        return err_fail(e, RC_CORRUPT, "the mount answered something else");
    if (o->json)
        return json_print(tree, stdout, e);
    if (table_open(&table, 4, e) || table_add(table, headings, e) ||
        add_rows(table, tree, o->csv, e))
        return e->code;
    if (o->csv)
        table_print_csv(table, stdout);
    else
        table_print(table, stdout);
    return RC_OK;
}

static enum rc summarize(const struct summary_options *o, const char *given, struct err *e)
{
    auto_talk_path struct talk_path path = {.text = NULL};
    auto_buf struct buf answer;
    buf_init(&answer, ANSWER_BYTES_MAX);
    if (talk_path_find(given, true, &path, e))
        return e->code;
    const struct control_request request = {.command = CONTROL_SUMMARY,
                                            .ino = path.ino,
                                            .depth = (uint32_t)o->depth,
                                            .top = (uint32_t)o->entries,
                                            .is_strict = o->strict};
    struct talk_watch watch = {.what = "adding up", .is_quiet = o->csv || o->json};
    if (talk_ask(path.root, &request, &watch, &answer, e))
        return err_note(e, "\"%s\"", given);
    return print(o, buf_bytes(&answer), e);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    return summarize(into, arguments[0], e) ? err_exits(e, EXIT_FAILED) : RC_OK;
}

int command_summary(int argc, char **argv)
{
    struct summary_options o;
    return command_run(&command, &o, work, argc, argv);
}
