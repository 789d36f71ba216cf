/*
 * What --help prints: usage, summary, the options in the order of the table under their headings,
 * what the command has to tell, and where else options may come from.
 */
#include <ctype.h>
#include <string.h>

#include "fs/base/conf_number.h"

#define HELP_COLUMN  28
#define HELP_COLUMNS 96
#define LEFT_BYTES   96

static const char *const placeholders[] = {
    [CONF_FLAG] = NULL, [CONF_SWITCH] = NULL, [CONF_STRING] = "TEXT",
    [CONF_INT] = "N",   [CONF_SIZE] = "SIZE", [CONF_DURATION] = "DURATION",
};

/* Print words from column HELP_COLUMN on, wrapped. `column` is where the line stands now. */
static void print_wrapped(FILE *to, int column, const char *text)
{
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + length > HELP_COLUMNS) {
            (void)fputc('\n', to);
            column = 0;
        }
        int padding = column < HELP_COLUMN ? HELP_COLUMN - column : column > HELP_COLUMN;
        (void)fprintf(to, "%*s%.*s", padding, "", length, text);
        column += padding + length;
        text += length;
        text += strspn(text, " ");
    }
    (void)fputc('\n', to);
}

static void print_range(FILE *to, const struct conf_option *option)
{
    char low[CONF_VALUE_BYTES];
    char high[CONF_VALUE_BYTES];
    if (option->max <= option->min)
        return;
    conf_print_value(low, option->type, option->min);
    conf_print_value(high, option->type, option->max);
    (void)fprintf(to, "; %s to %s", low, high);
}

/* "help (default 100G; 0 to 1P; in MiB; env JFS_X)": what stands in brackets begins with "; ". */
static char *describe(const struct conf_option *option)
{
    char *facts = NULL;
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&facts, &size);
    if (!to)
        return NULL;
    if (option->default_text && *option->default_text && option->type != CONF_FLAG)
        (void)fprintf(to, "; default %s", option->default_text);
    if (option->default_text && option->type == CONF_FLAG && *option->default_text == 't')
        (void)fprintf(to, "; on unless --no-%s", option->name);
    print_range(to, option);
    if (option->unit && option->type == CONF_INT)
        (void)fprintf(to, "; in %s", option->unit);
    else if (option->unit)
        (void)fprintf(to, "; a plain number is %s", option->unit);
    if (option->env)
        (void)fprintf(to, "; or %s", option->env);
    if (option->reloadable)
        (void)fprintf(to, "; reloaded on SIGHUP");
    if (fclose(to) != 0 || size == 0) {
        free(facts);
        return strdup(option->help);
    }
    if (asprintf(&text, "%s (%s)", option->help, facts + 2) == -1)
        text = NULL;
    free(facts);
    return text;
}

static void print_option(FILE *to, const struct conf_option *option)
{
    char left[LEFT_BYTES];
    char letter[5] = "    ";
    const char *placeholder = placeholders[option->type];
    if (option->letter)
        (void)snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    (void)snprintf(left, sizeof(left), "  %s--%s%s%s", letter, option->name, placeholder ? " " : "",
                   placeholder ? placeholder : "");

    auto_free char *text = describe(option);
    int column = fprintf(to, "%s", left);
    if (column > HELP_COLUMN - 2) {
        (void)fputc('\n', to);
        column = 0;
    }
    print_wrapped(to, column, text ? text : option->help);
}

static const char *heading_of(const struct conf_option *option)
{
    return option->group ? option->group : "Options";
}

static bool is_first_of_group(const struct conf_command *command, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(heading_of(&command->options[i]), heading_of(&command->options[index])) == 0)
            return false;
    return true;
}

static void print_group(const struct conf_command *command, const char *heading, FILE *to)
{
    (void)fprintf(to, "\n%s:\n", heading);
    for (size_t i = 0; i < command->option_count; i++)
        if (strcmp(heading_of(&command->options[i]), heading) == 0)
            print_option(to, &command->options[i]);
}

static void print_common(FILE *to)
{
    (void)fputs("\nCommon:\n", to);
    print_wrapped(to, fprintf(to, "      --config FILE"),
                  "read options from FILE, as lines of name = value");
    print_wrapped(to, fprintf(to, "  -h, --help"), "print this and exit");
}

/* A summary may or may not have its capital and full stop already. */
static void print_sentence(FILE *to, const char *text)
{
    bool is_ended = text[strlen(text) - 1] == '.';
    (void)fprintf(to, "%c%s%s\n", toupper((unsigned char)text[0]), text + 1, is_ended ? "" : ".");
}

void conf_help(const struct conf_command *command, FILE *to)
{
    const char *arguments = command->arguments ? command->arguments : "";
    (void)fprintf(to, "Usage: %s [OPTION]...%s%s\n", command->name, *arguments ? " " : "",
                  arguments);
    if (command->summary && *command->summary)
        print_sentence(to, command->summary);
    for (size_t i = 0; i < command->option_count; i++)
        if (is_first_of_group(command, i))
            print_group(command, heading_of(&command->options[i]), to);
    print_common(to);
    if (command->details)
        (void)fprintf(to, "\n%s%s", command->details,
                      command->details[strlen(command->details) - 1] == '\n' ? "" : "\n");
    (void)fputs("\nAn option is taken from the command line (--name=value or -o name=value,...), "
                "else from\nthe environment (TARN_NAME, with _ for -), else from --config, "
                "else it has its default.\n",
                to);
}
