/*
 * tarn compact: put the many small slices of files together, through the mount they are in.
 */
#include <stdio.h>

#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/cli/print.h"
#include "fs/cli/talk.h"
#include "fs/cli/verbs.h"

struct compact_options {
    bool json;
    int64_t threads;
};

static const struct conf_option options[] = {
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 65535,
     .offset = offsetof(struct compact_options, threads),
     .help = "chunks that are worked on at the same time"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct compact_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn compact",
    .arguments = "PATH...",
    .summary = "Compact the chunks of files and of all files below directories.",
    .details =
        "Exit codes: 0 done, 1 failed (the reason is printed; nothing is lost), 2 wrong command\n"
        "line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = -1,
};

static enum rc compact_one(const struct compact_options *o, const char *given, uint64_t *chunks,
                           struct err *e)
{
    auto_talk_path struct talk_path path = {.text = NULL};
    if (talk_path_find(given, true, &path, e))
        return e->code;
    const struct control_request request = {
        .command = CONTROL_COMPACT, .ino = path.ino, .threads = (uint32_t)o->threads};
    struct talk_watch watch = {.what = "compacting chunks", .is_quiet = o->json};
    enum rc rc = talk_ask(path.root, &request, &watch, NULL, e);
    *chunks += watch.second;
    return rc ? err_note(e, "could not compact \"%s\"", given) : RC_OK;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct compact_options *o = into;
    uint64_t chunks = 0;
    log_init("tarn", LOG_LEVEL_WARN, false);
    for (size_t i = 0; arguments[i]; i++)
        if (compact_one(o, arguments[i], &chunks, e))
            return err_exits(e, EXIT_FAILED);
    return o->json ? print_count("chunks", chunks, e) : RC_OK;
}

int command_compact(int argc, char **argv)
{
    struct compact_options o;
    return command_run(&command, &o, work, argc, argv);
}
