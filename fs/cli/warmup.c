/*
 * tarn warmup: bring files into the disk cache of a mount, take them out, or see what is there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/cli/table.h"
#include "fs/cli/talk.h"
#include "fs/cli/verbs.h"

#define ANSWER_BYTES_MAX ((size_t)16 << 20)

struct warmup_options {
    bool background, evict, check, json;
    const char *file;
    int64_t threads;
};

static const struct conf_option options[] = {
    {.name = "file",
     .letter = 'f',
     .type = CONF_STRING,
     .offset = offsetof(struct warmup_options, file),
     .help = "take further paths from this file, one on each line"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "50",
     .min = 1,
     .max = 65535,
     .offset = offsetof(struct warmup_options, threads),
     .help = "chunks that are worked on at the same time"},
    {.name = "background",
     .letter = 'b',
     .type = CONF_FLAG,
     .offset = offsetof(struct warmup_options, background),
     .help = "do not wait for the end"},
    {.name = "evict",
     .type = CONF_FLAG,
     .offset = offsetof(struct warmup_options, evict),
     .help = "take the files out of the cache"},
    {.name = "check",
     .type = CONF_FLAG,
     .offset = offsetof(struct warmup_options, check),
     .help = "only see how much of the files is in the cache"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct warmup_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn warmup",
    .arguments = "[PATH...]",
    .summary = "Bring files, and all below directories, into a mount's disk cache.",
    .details =
        "All paths are in one mount.\n"
        "\n"
        "Exit codes: 0 done, 1 failed (of a warm-up also when blocks could not be fetched), 2\n"
        "wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 0,
    .max_arguments = -1,
};

struct warming {
    const struct warmup_options *o;
    char *root;       /* of the mount; NULL: no path has been seen yet */
    struct buf batch; /* paths, joined by newlines */
    size_t batched;
    uint64_t files, bytes, missing;
    struct json *places; /* "cache directory" → bytes */
};

static enum fill_action action_of(const struct warmup_options *o)
{
    return o->evict ? FILL_EVICT : o->check ? FILL_CHECK : FILL_WARM;
}

static const char *const labels[] = {"warming up", "evicting", "checking"};

static void add_place(const char *name, const struct json *value, void *arg)
{
    struct warming *w = arg;
    struct err lost = ERR_INIT;
    auto_buf struct buf text;
    buf_init(&text, 64);
    const char *number;
    if (json_write(value, JSON_COMPACT, &text, &lost) || buf_cstr(&text, &number, &lost))
        return;
    const int64_t sum = json_get_int(w->places, name, 0) + strtoll(number, NULL, 10);
    if (json_set_int(w->places, name, sum, &lost))
        log_err(LOG_LEVEL_WARN, &lost, "a place is left out");
}

static enum rc take_answer(struct warming *w, struct bytes answer, struct err *e)
{
    auto_json struct json *doc = NULL;
    if (json_parse(answer, &doc, e))
        return e->code;
    w->files += (uint64_t)json_get_int(doc, "FileCount", 0);
    w->bytes += (uint64_t)json_get_int(doc, "TotalBytes", 0);
    w->missing += (uint64_t)json_get_int(doc, "MissBytes", 0);
    const struct json *places = json_get(doc, "Locations");
    if (places && json_kind(places) == JSON_KIND_OBJECT)
        json_each(places, add_place, w);
    return RC_OK;
}

static enum rc send_batch(struct warming *w, struct err *e)
{
    if (w->batched == 0)
        return RC_OK;
    const struct control_request request = {
        .command = CONTROL_FILL,
        .paths = {w->batch.data, w->batch.size - 1},
        .threads = (uint32_t)w->o->threads,
        .is_background = w->o->background,
        .action = action_of(w->o),
    };
    struct talk_watch watch = {.what = labels[action_of(w->o)],
                               .is_bytes = true,
                               .is_quiet = w->o->json || w->o->background};
    auto_buf struct buf answer;
    buf_init(&answer, ANSWER_BYTES_MAX);
    if (talk_ask(w->root, &request, &watch, &answer, e) || take_answer(w, buf_bytes(&answer), e))
        return e->code;
    buf_clear(&w->batch);
    w->batched = 0;
    return RC_OK;
}

static enum rc add_path(struct warming *w, const char *given, struct err *e)
{
    auto_talk_path struct talk_path path = {.text = NULL};
    if (talk_path_find(given, true, &path, e))
        return e->code;
    if (!w->root)
        w->root = take_pointer(&path.root);
    else if (strcmp(w->root, path.root) != 0)
        return err_fail(e, RC_INVALID, "\"%s\" is not in the mount \"%s\"", given, w->root);
    if (strchr(path.text, '\n'))
        return err_fail(e, RC_INVALID, "cannot warm a path with a line break: \"%s\"", given);
    const char *inside = path.text + strlen(w->root);
    enum rc rc = strcmp(w->root, "/") == 0 ? buf_addf(&w->batch, e, "inode:%" PRIu64 "\n", path.ino)
                                           : buf_addf(&w->batch, e, "%s\n", *inside ? inside : "/");
    if (rc)
        return rc;
    return ++w->batched == CONTROL_PATHS_MAX ? send_batch(w, e) : RC_OK;
}

/* The mount is known by the first path, which fails loudly; of a list the others are passed over.
 */
static enum rc add_list(struct warming *w, const char *name, struct err *e)
{
    FILE *file = fopen(name, "re");
    if (!file)
        return err_os(e, errno, "could not open \"%s\"", name);
    auto_free char *line = NULL;
    size_t room = 0;
    ssize_t size;
    enum rc rc = RC_OK;
    while (!rc && (size = getline(&line, &room, file)) >= 0) {
        while (size > 0 && strchr(" \t\r\n", line[size - 1]))
            line[--size] = '\0';
        const char *path = line + strspn(line, " \t");
        if (*path)
            rc = add_path(w, path, e);
    }
    fclose(file);
    return rc;
}

struct place_rows {
    struct warming *warming;
    struct table *table;
    struct err first;
};

static void add_place_row(const char *name, const struct json *value, void *arg)
{
    (void)value;
    struct place_rows *rows = arg;
    char size[HUMAN_BYTES], share[16];
    const uint64_t bytes = (uint64_t)json_get_int(rows->warming->places, name, 0);
    human_size(size, bytes);
    snprintf(share, sizeof(share), "%.1f%%",
             rows->warming->bytes ? (double)bytes * 100 / (double)rows->warming->bytes : 0.0);
    (void)!table_add(rows->table, (const char *const[]){name, size, share}, &rows->first);
}

static enum rc fill_table(struct warming *w, struct table *table, struct err *e)
{
    struct place_rows rows = {w, table, ERR_INIT};
    json_each(w->places, add_place_row, &rows);
    if (rows.first.code)
        *e = rows.first;
    return rows.first.code;
}

static enum rc print_check(struct warming *w, struct err *e)
{
    static const char *const headings[] = {"Location", "Size", "Percentage"};
    char there[HUMAN_BYTES], all[HUMAN_BYTES];
    auto_table struct table *table = NULL;
    const uint64_t cached = w->bytes - w->missing;
    if (table_open(&table, 3, e) || table_add(table, headings, e) || fill_table(w, table, e))
        return e->code;
    if (w->bytes > w->missing)
        table_print(table, stdout);
    human_size(there, cached);
    human_size(all, w->bytes);
    printf("%" PRIu64 " files checked, %s of %s (%.1f%%) cached\n", w->files, there, all,
           w->bytes ? (double)cached * 100 / (double)w->bytes : 0.0);
    return RC_OK;
}

static enum rc print_json(struct warming *w, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_int(doc, "files", (int64_t)w->files, e) ||
        json_set_int(doc, "bytes", (int64_t)w->bytes, e) ||
        json_set_int(doc, "missing", (int64_t)w->missing, e) ||
        json_set(doc, "locations", &w->places, e))
        return e->code;
    return json_print(doc, stdout, e);
}

static enum rc print(struct warming *w, struct err *e)
{
    char all[HUMAN_BYTES];
    if (w->o->json)
        return print_json(w, e);
    if (w->o->background)
        return RC_OK;
    if (w->o->check)
        return print_check(w, e);
    human_size(all, w->bytes);
    printf("%s: %" PRIu64 " files (%s)\n", labels[action_of(w->o)], w->files, all);
    return RC_OK;
}

static enum rc run(struct warming *w, const char *const *arguments, struct err *e)
{
    for (size_t i = 0; arguments[i]; i++)
        if (add_path(w, arguments[i], e))
            return e->code;
    if ((w->o->file && *w->o->file && add_list(w, w->o->file, e)) || send_batch(w, e) ||
        print(w, e))
        return e->code;
    if (action_of(w->o) == FILL_WARM && w->missing)
        return err_fail(e, RC_UNAVAILABLE,
                        "%" PRIu64 " bytes could not be fetched; the mount's log names the blocks",
                        w->missing);
    return RC_OK;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct warmup_options *o = into;
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (o->check && o->evict)
        return err_fail(e, RC_INVALID, "--check and --evict cannot be used together");
    if (!arguments[0] && !(o->file && *o->file))
        return err_fail(e, RC_INVALID, "no path was given");
    struct warming w = {.o = o, .places = json_object_new()};
    buf_init(&w.batch, CONTROL_BODY_MAX - 64);
    enum rc rc = w.places ? run(&w, arguments, e)
                          : err_fail(e, RC_NO_SPACE, "could not allocate a document");
    json_free(&w.places);
    buf_deinit(&w.batch);
    free(w.root);
    return rc ? err_exits(e, EXIT_FAILED) : RC_OK;
}

int command_warmup(int argc, char **argv)
{
    struct warmup_options o;
    return command_run(&command, &o, work, argc, argv);
}
