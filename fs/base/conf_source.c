#include "fs/base/conf_source.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "fs/base/buf.h"

#define FILE_BYTES (1U << 20)
#define NAME_BYTES 64

/* The command line, one argument after another. */
struct words {
    char **argv;
    int count;
    int next;
};

static enum rc keep_text(struct parse *p, const char *text, size_t size, char **out)
{
    struct conf_text *kept = malloc(sizeof(*kept) + size + 1);
    if (!kept)
        return err_fail(p->e, RC_NO_SPACE, "out of memory for options");
    memcpy(kept->text, text, size);
    kept->text[size] = 0;
    kept->next = p->result->texts;
    p->result->texts = kept;
    *out = kept->text;
    return RC_OK;
}

/* Are these the same name, where "_" is as good as "-"? */
static bool is_same_name(const char *option, const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (option[i] == 0 || option[i] != (name[i] == '_' ? '-' : name[i]))
            return false;
    return option[length] == 0;
}

static const struct conf_option *find_named(const struct parse *p, const char *name, size_t length)
{
    for (size_t i = 0; i < p->command->option_count; i++)
        if (is_same_name(p->command->options[i].name, name, length))
            return &p->command->options[i];
    return NULL;
}

static const struct conf_option *find_letter(const struct parse *p, char letter)
{
    for (size_t i = 0; i < p->command->option_count; i++)
        if (p->command->options[i].letter == letter)
            return &p->command->options[i];
    return NULL;
}

static bool takes_no_word(const struct conf_option *option)
{
    return option->type == CONF_FLAG || option->type == CONF_SWITCH;
}

/* On the command line the last of several wins; otherwise the first, strongest source. */
static void give(const struct parse *p, const struct conf_option *option, struct given given)
{
    struct given *slot = conf_given(p, option);
    if (slot->source == SOURCE_NONE || slot->source == given.source)
        *slot = given;
}

static enum rc unknown_option(const struct parse *p, const char *name, size_t length)
{
    return err_fail(p->e, RC_INVALID, "unknown option \"%.*s\" (see --help)", (int)length, name);
}

/*
 * Take "name", "name=value" or "no-name". The value of a "name" alone is the next word, where
 * there are words and the option is no flag.
 */
static enum rc take_long(struct parse *p, const char *word, struct words *words)
{
    size_t length = strcspn(word, "=");
    const char *value = word[length] == '=' ? word + length + 1 : NULL;

    if (is_same_name("config", word, length)) {
        if (!value && words && words->next < words->count)
            value = words->argv[words->next++];
        if (!value)
            return err_fail(p->e, RC_INVALID, "option --config needs a file name");
        p->config_path = value;
        return RC_OK;
    }

    const struct conf_option *option = find_named(p, word, length);
    if (!option && !value && length > 3 && strncmp(word, "no-", 3) == 0) {
        option = find_named(p, word + 3, length - 3);
        if (option && takes_no_word(option))
            value = "false";
        else
            option = NULL;
    }
    if (!option)
        return unknown_option(p, word, length);
    if (!value && takes_no_word(option))
        value = "true";
    if (!value && words && words->next < words->count)
        value = words->argv[words->next++];
    if (!value)
        return err_fail(p->e, RC_INVALID, "option --%s needs a value", option->name);
    give(p, option, (struct given){.text = value, .source = SOURCE_COMMAND_LINE});
    return RC_OK;
}

/* Cut the next item from a list with commas, "\," being a comma: in place, as our copy. */
static char *next_item(char **list)
{
    char *item = *list;
    char *to = item;
    char *from = item;
    for (; *from && *from != ','; from++) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from;
    }
    *list = *from ? from + 1 : from;
    *to = 0;
    return item;
}

/* The "a=b,c" of mount's -o: the same names as the long options. */
static enum rc take_mount_options(struct parse *p, const char *text)
{
    char *list = NULL;
    enum rc rc = keep_text(p, text, strlen(text), &list);
    while (!rc && *list) {
        char *item = next_item(&list);
        if (*item)
            rc = take_long(p, item, NULL);
    }
    return rc;
}

/* What follows a letter: the rest of its word, or the next word. */
static const char *letter_value(const char *rest, struct words *words)
{
    if (*rest)
        return rest;
    return words->next < words->count ? words->argv[words->next++] : NULL;
}

/* "-v", "-vd", "-ofoo", "-o foo". */
static enum rc take_letters(struct parse *p, const char *letters, struct words *words)
{
    for (; *letters; letters++) {
        const struct conf_option *option = find_letter(p, *letters);
        if (option && takes_no_word(option)) {
            give(p, option, (struct given){.text = "true", .source = SOURCE_COMMAND_LINE});
            continue;
        }
        if (!option && *letters == 'h') {
            p->result->help_wanted = true;
            continue;
        }
        if (!option && *letters != 'o')
            return err_fail(p->e, RC_INVALID, "unknown option \"-%c\" (see --help)", *letters);

        const char *value = letter_value(letters + 1, words);
        if (!value)
            return err_fail(p->e, RC_INVALID, "option -%c needs a value", *letters);
        if (!option)
            return take_mount_options(p, value);
        give(p, option, (struct given){.text = value, .source = SOURCE_COMMAND_LINE});
        return RC_OK;
    }
    return RC_OK;
}

static enum rc take_words(struct parse *p, struct words *words)
{
    bool is_ended = false;
    enum rc rc = RC_OK;
    while (!rc && words->next < words->count) {
        const char *word = words->argv[words->next++];
        if (is_ended || word[0] != '-' || word[1] == 0)
            p->result->arguments[p->result->argument_count++] = word;
        else if (strcmp(word, "--") == 0)
            is_ended = true;
        else if (strcmp(word, "--help") == 0)
            p->result->help_wanted = true;
        else if (word[1] == '-')
            rc = take_long(p, word + 2, words);
        else
            rc = take_letters(p, word + 1, words);
    }
    return rc;
}

/* TARN_CACHE_SIZE of "cache-size". */
static const char *environment_of(const char *option_name, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "TARN_%s", option_name);
    for (char *at = name; *at; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static enum rc take_environment(struct parse *p)
{
    char name[NAME_BYTES];
    if (!p->config_path)
        p->config_path = environment_of("config", name);
    for (size_t i = 0; i < p->command->option_count; i++) {
        const struct conf_option *option = &p->command->options[i];
        if (p->command->command_line_only && !option->secret)
            continue;
        const char *value = environment_of(option->name, name);
        char *variable = NULL;
        if (!value && option->env) {
            (void)snprintf(name, sizeof(name), "%s", option->env);
            value = getenv(name);
        }
        if (!value || !*value)
            continue;
        if (keep_text(p, name, strlen(name), &variable))
            return p->e->code;
        give(p, option,
             (struct given){.text = value, .source = SOURCE_ENVIRONMENT, .variable = variable});
    }
    return RC_OK;
}

/* Cut white space from both ends, in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = 0;
    return text;
}

/* One "name = value" line; "#" begins a comment line, quotes keep spaces at the ends. */
static enum rc take_file_line(struct parse *p, char *text, int line)
{
    text = trim(text);
    if (*text == 0 || *text == '#')
        return RC_OK;
    char *equals = strchr(text, '=');
    if (!equals)
        return err_fail(p->e, RC_INVALID, "\"%s\" line %d is not name = value", p->config_path,
                        line);
    *equals = 0;
    const char *name = trim(text);
    char *value = trim(equals + 1);
    size_t length = strlen(value);
    if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
        value[length - 1] = 0;
        value++;
    }
    const struct conf_option *option = find_named(p, name, strlen(name));
    if (!option)
        return err_fail(p->e, RC_INVALID, "\"%s\" line %d: unknown option \"%s\"", p->config_path,
                        line, name);
    give(p, option, (struct given){.text = value, .source = SOURCE_FILE, .line = line});
    return RC_OK;
}

static enum rc read_file(const char *path, struct buf *out, struct err *e)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return err_os(e, errno, "could not open the options file \"%s\"", path);
    enum rc rc = RC_OK;
    size_t got = 0;
    do {
        rc = buf_reserve(out, 4096, e);
        if (rc)
            break;
        got = fread(out->data + out->size, 1, 4096, file);
        out->size += got;
    } while (got > 0);
    if (!rc && ferror(file))
        rc = err_os(e, errno, "could not read the options file \"%s\"", path);
    (void)fclose(file);
    return rc;
}

static enum rc take_file(struct parse *p)
{
    auto_buf struct buf content;
    buf_init(&content, FILE_BYTES);
    if (!p->config_path)
        return RC_OK;
    enum rc rc = read_file(p->config_path, &content, p->e);
    if (rc)
        return rc;
    if (content.size > 0 && memchr(content.data, 0, content.size))
        return err_fail(p->e, RC_INVALID, "\"%s\" is no text file", p->config_path);

    char *text = NULL;
    rc = keep_text(p, (const char *)content.data, content.size, &text);
    for (int line = 1; !rc && *text; line++) {
        size_t length = strcspn(text, "\n");
        bool is_last = text[length] == 0;
        text[length] = 0;
        rc = take_file_line(p, text, line);
        text += length + !is_last;
    }
    return rc;
}

static void take_defaults(struct parse *p)
{
    for (size_t i = 0; i < p->command->option_count; i++)
        give(p, &p->command->options[i],
             (struct given){.text = p->command->options[i].default_text, .source = SOURCE_DEFAULT});
}

enum rc conf_take(struct parse *p, int argc, char **argv)
{
    struct words words = {.argv = argv, .count = argc, .next = 1};
    enum rc rc = take_words(p, &words);
    if (rc || p->result->help_wanted)
        return rc;
    rc = take_environment(p);
    if (!rc)
        rc = take_file(p);
    if (!rc)
        take_defaults(p);
    return rc;
}
