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

/* As conf reads a name: "_" is as good as "-". */
static bool is_secret(const struct conf_command *conf, const char *name, size_t size)
{
    for (size_t i = 0; i < conf->option_count; i++) {
        const struct conf_option *o = &conf->options[i];
        size_t same = 0;
        while (o->secret && same < size && o->name[same] == (name[same] == '_' ? '-' : name[same]))
            same++;
        if (o->secret && same == size && o->name[same] == '\0')
            return true;
    }
    return false;
}

/* "a=b,c": is one of them a secret? */
static bool lists_secret(const struct conf_command *conf, const char *item)
{
    while (!is_secret(conf, item, strcspn(item, "=,"))) {
        item += strcspn(item, ",");
        if (!*item++)
            return false;
    }
    return true;
}

/* What in these two words is a secret, and in which of them it is; NULL: nothing. */
static char *find_secret(const struct conf_command *conf, char **words, size_t *which)
{
    char *word = words[0];
    const bool is_long = strncmp(word, "--", 2) == 0;
    const size_t size = strcspn(word, "=");
    if (!is_long && strncmp(word, "-o", 2) == 0) {
        *which = word[2] == '\0';
        char *list = *which ? words[1] : word + 2;
        return list && lists_secret(conf, list) ? list : NULL;
    }
    if (!is_long || !is_secret(conf, word + 2, size - 2))
        return NULL;
    *which = word[size] == '\0';
    return *which ? words[1] : word + size + 1;
}

/* argv ends with NULL. */
static void hide_secrets(const struct conf_command *conf, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        size_t which = 0;
        url_hide(&argv[i]);
        char *secret = find_secret(conf, argv + i, &which);
        if (secret)
            hide_value(&argv[i + (int)which], secret);
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
