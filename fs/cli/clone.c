/*
 * tarn clone: a file or tree once more, without copying its data.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/cli/print.h"
#include "fs/cli/talk.h"
#include "fs/cli/verbs.h"

struct clone_options {
    bool preserve, json;
    int64_t threads;
};

static const struct conf_option options[] = {
    {.name = "preserve",
     .letter = 'p',
     .type = CONF_FLAG,
     .offset = offsetof(struct clone_options, preserve),
     .help = "keep owner, group, mode and times"},
    {.name = "threads",
     .type = CONF_INT,
     .default_text = "4",
     .min = 1,
     .max = 255,
     .offset = offsetof(struct clone_options, threads),
     .help = "directories that are worked on at the same time"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct clone_options, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn clone",
    .arguments = "SRC DST",
    .summary = "Clone a file or directory without copying its data.",
    .details =
        "SRC and DST are in the same mount. The clone appears whole or not at all; hard links\n"
        "become files of their own. With a slash at its end DST is a directory to clone into.\n"
        "\n"
        "Exit codes: 0 cloned, 1 failed (nothing is left behind), 2 wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};

static enum rc check(const struct talk_path *src, const struct talk_path *dst, struct err *e)
{
    const size_t size = strlen(src->text);
    if (dst->ino)
        return err_fail(e, RC_EXISTS, "\"%s\" already exists", dst->text);
    if (strcmp(src->root, dst->root) != 0)
        return err_fail(e, RC_INVALID, "\"%s\" is not in the same mount as \"%s\"", dst->text,
                        src->text);
    if (strncmp(dst->text, src->text, size) == 0 && dst->text[size] == '/')
        return err_fail(e, RC_INVALID, "cannot clone \"%s\" into itself", src->text);
    return RC_OK;
}

static mode_t current_umask(void)
{
    const mode_t mask = umask(0);
    umask(mask);
    return mask;
}

static enum rc clone(const struct clone_options *o, const struct talk_path *src,
                     const struct talk_path *dst, uint64_t *cloned, struct err *e)
{
    if (check(src, dst, e))
        return e->code;
    const struct control_request request = {
        .command = CONTROL_CLONE,
        .ino = src->ino,
        .parent = src->above,
        .dst_parent = dst->above,
        .name = {(const uint8_t *)dst->name, strlen(dst->name)},
        .umask = current_umask(),
        .preserve = o->preserve,
        .threads = (uint32_t)o->threads,
    };
    struct talk_watch watch = {
        .what = "cloning entries", .shows_second = true, .is_quiet = o->json};
    enum rc rc = talk_ask(src->root, &request, &watch, NULL, e);
    *cloned = watch.first;
    return rc ? err_note(e, "could not clone \"%s\"", src->text) : RC_OK;
}

static enum rc run(const struct clone_options *o, const char *const *arguments, uint64_t *cloned,
                   struct err *e)
{
    auto_talk_path struct talk_path src = {.text = NULL}, dst = {.text = NULL};
    char into[PATH_MAX];
    if (talk_path_find(arguments[0], true, &src, e))
        return e->code;
    const size_t size = strlen(arguments[1]);
    const bool is_into = size > 0 && arguments[1][size - 1] == '/';
    snprintf(into, sizeof(into), "%s%s", arguments[1], is_into ? src.name : "");
    return talk_path_find(into, false, &dst, e) ? e->code : clone(o, &src, &dst, cloned, e);
}

static enum rc work(void *data, const char *const *arguments, struct err *e)
{
    const struct clone_options *o = data;
    uint64_t cloned = 0;
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (run(o, arguments, &cloned, e))
        return err_exits(e, EXIT_FAILED);
    return o->json ? print_count("cloned", cloned, e) : RC_OK;
}

int command_clone(int argc, char **argv)
{
    struct clone_options o;
    return command_run(&command, &o, work, argc, argv);
}
