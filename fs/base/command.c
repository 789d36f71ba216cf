#include "fs/base/command.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/base/url.h"

/* Hide a value: what ps shows becomes stars, *argument a copy of what was given. */
static void hide_value(char **argument, char *value)
{
    char *copy = strdup(*argument);
    if (!copy)
        return;
    memset(value, '*', strlen(value));
    *argument = copy;
}

/* Whether the argument is "--name" or "--name=value" of a secret; *value is what follows "=". */
static bool is_secret(const struct conf_command *conf, char *argument, char **value)
{
    const size_t size = strcspn(argument, "=");
    *value = argument[size] ? argument + size + 1 : NULL;
    for (size_t i = 0; i < conf->option_count; i++) {
        const struct conf_option *o = &conf->options[i];
        if (o->secret && size == strlen(o->name) + 2 && strncmp(argument, "--", 2) == 0 &&
            memcmp(argument + 2, o->name, size - 2) == 0)
            return true;
    }
    return false;
}

static void hide_secrets(const struct conf_command *conf, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *value;
        url_hide(&argv[i]);
        if (!is_secret(conf, argv[i], &value))
            continue;
        if (value)
            hide_value(&argv[i], value);
        else if (i + 1 < argc)
            hide_value(&argv[i + 1], argv[i + 1]);
    }
}

int command_run(const struct conf_command *conf, void *options, command_work work, int argc,
                char **argv)
{
    struct err e = ERR_INIT;
    struct conf_result result;
    hide_secrets(conf, argc, argv);
    if (conf_parse(conf, argc, argv, options, &result, &e)) {
        (void)fprintf(stderr, "%s: %s\n", conf->name, e.text);
        return EXIT_USAGE;
    }
    enum rc rc = RC_OK;
    if (result.help_wanted)
        conf_help(conf, stdout);
    else
        rc = work(options, result.arguments, &e);
    if (rc)
        (void)fprintf(stderr, "%s: %s\n", conf->name, e.text);
    conf_release(&result);
    return rc ? exit_code_of(&e) : EXIT_DONE;
}

static void list_verbs(const char *program, const struct command_verb *verbs, size_t count,
                       FILE *to)
{
    (void)fprintf(to, "Usage: %s COMMAND [OPTION]... [ARGUMENT]...\n\n", program);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(to, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
    (void)fprintf(to, "\n%s COMMAND --help tells more.\n", program);
}

int command_dispatch(const char *program, const struct command_verb *verbs, size_t count, int argc,
                     char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        list_verbs(program, verbs, count, stdout);
        return EXIT_DONE;
    }
    if (word[0])
        (void)fprintf(stderr, "%s: there is no command \"%s\"; see %s --help\n", program, word,
                      program);
    else
        list_verbs(program, verbs, count, stderr);
    return EXIT_USAGE;
}

enum rc command_log_init(const char *program, const struct command_log *log, struct err *e)
{
    enum log_level level;
    const bool is_json = strcmp(log->format, "json") == 0;
    if (log_level_parse(log->level, &level, e))
        return e->code;
    if (!is_json && strcmp(log->format, "logfmt") != 0)
        return err_fail(e, RC_INVALID, "unknown log format \"%s\": logfmt or json", log->format);
    log_init(program, level, is_json);
    return RC_OK;
}
