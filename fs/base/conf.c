/*
 * All texts are taken first (conf_source.c). Only then are they converted, so that a message can
 * say where a bad one came from, and the order in which --config is found does not matter.
 */
#include "fs/base/conf.h"

#include <string.h>
#include <strings.h>

#include "fs/base/conf_number.h"
#include "fs/base/conf_source.h"

static enum rc parse_flag(const char *text, bool *out, struct err *e)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return RC_OK;
        }
    }
    return err_fail(e, RC_INVALID, "\"%s\" is neither true nor false", text);
}

static enum rc parse_number(const struct conf_option *option, const char *text, int64_t *out,
                            struct err *e)
{
    if (option->type == CONF_SIZE)
        return conf_parse_size(text, conf_size_unit(option->unit), out, e);
    if (option->type == CONF_DURATION)
        return conf_parse_duration(text, conf_duration_unit(option->unit), out, e);
    return conf_parse_int(text, out, e);
}

static enum rc check_range(const struct conf_option *option, int64_t value, struct err *e)
{
    char shown[3][CONF_VALUE_BYTES];
    if (option->max <= option->min || (value >= option->min && value <= option->max))
        return RC_OK;
    conf_print_value(shown[0], option->type, value);
    conf_print_value(shown[1], option->type, option->min);
    conf_print_value(shown[2], option->type, option->max);
    return err_fail(e, RC_INVALID, "%s is out of range, which is %s to %s", shown[0], shown[1],
                    shown[2]);
}

static enum rc store_switch(const char *text, const char **field, struct err *e)
{
    bool is_on;
    *field = NULL;
    if (!text)
        return RC_OK;
    if (parse_flag(text, &is_on, e))
        return e->code;
    *field = is_on ? "true" : "false";
    return RC_OK;
}

/* Write a text into the program's struct. Unset numbers are 0, whatever their range. */
static enum rc store(const struct conf_option *option, const char *text, void *into, struct err *e)
{
    void *field = (char *)into + option->offset;
    if (option->type == CONF_STRING) {
        *(const char **)field = text;
        return RC_OK;
    }
    if (option->type == CONF_FLAG) {
        *(bool *)field = false;
        return text ? parse_flag(text, field, e) : RC_OK;
    }
    if (option->type == CONF_SWITCH)
        return store_switch(text, field, e);
    *(int64_t *)field = 0;
    if (!text)
        return RC_OK;
    enum rc rc = parse_number(option, text, field, e);
    return rc ? rc : check_range(option, *(int64_t *)field, e);
}

/* Put in front of the reason which option it was, and who gave it. */
static enum rc blame(const struct parse *p, const struct conf_option *option)
{
    const struct given *given = conf_given(p, option);
    if (option->secret)
        (void)err_fail(p->e, RC_INVALID, "its value is malformed");
    if (given->source == SOURCE_ENVIRONMENT)
        return err_note(p->e, "option --%s (from %s)", option->name, given->variable);
    if (given->source == SOURCE_FILE)
        return err_note(p->e, "option --%s (from \"%s\" line %d)", option->name, p->config_path,
                        given->line);
    return err_note(p->e, "option --%s", option->name);
}

static enum rc store_all(struct parse *p, void *into)
{
    for (size_t i = 0; i < p->command->option_count; i++) {
        const struct conf_option *option = &p->command->options[i];
        if (store(option, conf_given(p, option)->text, into, p->e))
            return blame(p, option);
    }
    return RC_OK;
}

static enum rc check_arguments(const struct parse *p)
{
    const struct conf_command *command = p->command;
    int count = p->result->argument_count;
    if (count < command->min_arguments)
        return err_fail(p->e, RC_INVALID, "%s needs %s (see --help)", command->name,
                        command->arguments ? command->arguments : "arguments");
    if (command->max_arguments >= 0 && count > command->max_arguments)
        return err_fail(p->e, RC_INVALID, "unexpected argument \"%s\" (see --help)",
                        p->result->arguments[command->max_arguments]);
    return RC_OK;
}

enum rc conf_parse(const struct conf_command *command, int argc, char **argv, void *into,
                   struct conf_result *result, struct err *e)
{
    *result = (struct conf_result){0};
    auto_free struct given *given = calloc(command->option_count + 1, sizeof(*given));
    result->arguments = calloc((size_t)argc + 1, sizeof(*result->arguments));
    if (!given || !result->arguments) {
        conf_release(result);
        return err_fail(e, RC_NO_SPACE, "out of memory for options");
    }

    struct parse p = {.command = command, .given = given, .result = result, .e = e};
    enum rc rc = conf_take(&p, argc, argv);
    if (!rc && !result->help_wanted)
        rc = store_all(&p, into) ? e->code : check_arguments(&p);
    if (rc)
        conf_release(result);
    return rc;
}

void conf_release(struct conf_result *result)
{
    while (result->texts) {
        struct conf_text *text = result->texts;
        result->texts = text->next;
        free(text);
    }
    free(result->arguments);
    *result = (struct conf_result){0};
}

int exit_code_for(enum rc code)
{
    switch (code) {
    case RC_OK:
        return EXIT_DONE;
    case RC_INVALID:
        return EXIT_USAGE;
    case RC_UNAVAILABLE:
    case RC_TIMEOUT:
        return EXIT_UNREACHABLE;
    case RC_DENIED:
        return EXIT_DENIED;
    default:
        return EXIT_FAILED;
    }
}

int exit_code_of(const struct err *e)
{
    return e->code && e->exit_code ? e->exit_code : exit_code_for(e->code);
}
