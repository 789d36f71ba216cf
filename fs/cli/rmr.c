/*
 * tarn rmr: remove trees through the mount they are in.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/cli/print.h"
#include "fs/cli/talk.h"
#include "fs/cli/verbs.h"

struct rmr_options {
    bool skip_trash, json;
    int64_t threads;
};

static const struct conf_option options[] = {
    {.name = "skip-trash",
     .type = CONF_FLAG,
     .offset = offsetof(struct rmr_options, skip_trash),
     .help = "delete for good, not into the trash (root only)"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "50",
     .min = 1,
     .max = 255,
     .offset = offsetof(struct rmr_options, threads),
     .help = "directories that are worked on at the same time"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct rmr_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn rmr",
    .arguments = "PATH...",
    .summary = "Remove directories with all that is in them.",
    .details = "Example:\n"
               "  tarn rmr /mnt/models/old\n"
               "\n"
               "Exit codes: 0 removed, 1 something is left (the first reason is printed), 2 wrong\n"
               "command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = -1,
};

static enum rc remove_one(const struct rmr_options *o, const char *given, uint64_t *removed,
                          struct err *e)
{
    auto_talk_path struct talk_path path = {.text = NULL};
    if (talk_path_find(given, true, &path, e))
        return e->code;
    if (strcmp(path.text, path.root) == 0)
        return err_fail(e, RC_INVALID, "\"%s\" is the mount itself", given);
    const struct control_request request = {
        .command = CONTROL_RMR,
        .parent = path.above,
        .name = {(const uint8_t *)path.name, strlen(path.name)},
        .skip_trash = o->skip_trash,
        .threads = (uint32_t)o->threads,
    };
    struct talk_watch watch = {.what = "removing entries", .is_quiet = o->json};
    enum rc rc = talk_ask(path.dir, &request, &watch, NULL, e);
    *removed += watch.first;
    return rc ? err_note(e, "\"%s\"", given) : RC_OK;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct rmr_options *o = into;
    uint64_t removed = 0;
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (o->skip_trash && geteuid() != 0) {
        err_fail(e, RC_DENIED, "only root removes past the trash");
        return err_exits(e, EXIT_FAILED);
    }
    enum rc rc = RC_OK;
    for (size_t i = 0; arguments[i] && !rc; i++)
        rc = remove_one(o, arguments[i], &removed, e);
    if (rc)
        return err_exits(e, EXIT_FAILED);
    return o->json ? print_count("removed", removed, e) : RC_OK;
}

int command_rmr(int argc, char **argv)
{
    struct rmr_options o;
    return command_run(&command, &o, work, argc, argv);
}
