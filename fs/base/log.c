#include "fs/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/utf8.h"

/* One write(2) of at most this many bytes is what keeps lines of several threads apart. */
#define LINE_BYTES 4096
#define TEXT_BYTES 2048

/* Set once by log_init() before threads start; the level is read by all of them. */
static struct {
    _Atomic int lowest;
    bool as_json;
    char program[32];
} logger = {.lowest = LOG_LEVEL_INFO, .program = "tarn"};

static const char *const level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
};

/* A line being built; what does not fit is cut, but its end always fits. */
struct line {
    size_t size;
    char text[LINE_BYTES];
};

void log_init(const char *program, enum log_level lowest, bool as_json)
{
    (void)snprintf(logger.program, sizeof(logger.program), "%s", program);
    logger.as_json = as_json;
    atomic_store_explicit(&logger.lowest, (int)lowest, memory_order_relaxed);
}

enum rc log_level_parse(const char *word, enum log_level *out, struct err *e)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(word, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return RC_OK;
        }
    }
    return err_fail(e, RC_INVALID, "\"%s\" is no log level (debug, info, warn or error)", word);
}

static bool is_shown(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.lowest, memory_order_relaxed);
}

static void line_add(struct line *l, const char *text, size_t size)
{
    /* Room is kept for the closing quote, brace and newline. */
    size_t room = sizeof(l->text) - 4 - l->size;
    size = size < room ? size : room;
    memcpy(l->text + l->size, text, size);
    l->size += size;
}

static void line_add_str(struct line *l, const char *text)
{
    line_add(l, text, strlen(text));
}

/* Add one character of a quoted value; returns the bytes of text that it was. */
static size_t line_add_escaped(struct line *l, const char *text, size_t size)
{
    unsigned char c = (unsigned char)text[0];
    size_t length = utf8_sequence(text, size);
    char escape[8];

    if (length == 0) {
        line_add_str(l, UTF8_REPLACEMENT);
        return 1;
    }
    if (c == '"' || c == '\\')
        (void)snprintf(escape, sizeof(escape), "\\%c", c);
    else if (c == '\n')
        (void)snprintf(escape, sizeof(escape), "\\n");
    else if (c == '\t')
        (void)snprintf(escape, sizeof(escape), "\\t");
    else if (c < 0x20 || c == 0x7F)
        (void)snprintf(escape, sizeof(escape), "\\u%04x", c);
    else
        return line_add(l, text, length), length;
    line_add_str(l, escape);
    return 1;
}

/* Both forms take the same escapes, so one line can be read by either kind of reader. */
static void line_add_quoted(struct line *l, const char *text)
{
    size_t left = strlen(text);
    line_add_str(l, "\"");
    while (left > 0 && l->size + 16 < sizeof(l->text)) {
        size_t used = line_add_escaped(l, text, left);
        text += used;
        left -= used;
    }
    line_add_str(l, "\"");
}

static void line_add_field(struct line *l, const char *key, const char *value, bool is_word)
{
    bool is_first = l->size == 0;
    if (logger.as_json) {
        line_add_str(l, is_first ? "{\"" : ",\"");
        line_add_str(l, key);
        line_add_str(l, "\":");
    } else {
        line_add_str(l, is_first ? "" : " ");
        line_add_str(l, key);
        line_add_str(l, "=");
    }
    if (is_word && !logger.as_json)
        line_add_str(l, value);
    else
        line_add_quoted(l, value);
}

static void line_add_time(struct line *l)
{
    struct timespec now = clock_wall();
    struct tm utc;
    char day[32];
    char text[48];
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text, sizeof(text), "%s.%03ldZ", day, now.tv_nsec / 1000000);
    line_add_field(l, "ts", text, true);
}

static void line_send(struct line *l)
{
    if (logger.as_json)
        l->text[l->size++] = '}';
    l->text[l->size++] = '\n';

    const char *at = l->text;
    size_t left = l->size;
    while (left > 0) {
        ssize_t written = write(STDERR_FILENO, at, left);
        if (written == -1 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* a log that cannot be written has nowhere to complain */
        at += written;
        left -= (size_t)written;
    }
}

static void log_line(enum log_level level, const struct err *e, const char *fmt, va_list args)
    PRINTF(3, 0);

static void log_line(enum log_level level, const struct err *e, const char *fmt, va_list args)
{
    int saved_errno = errno;
    char message[TEXT_BYTES];
    struct line l;
    l.size = 0;

    (void)vsnprintf(message, sizeof(message), fmt, args);
    line_add_time(&l);
    line_add_field(&l, "level", level_names[level], true);
    line_add_field(&l, "prog", logger.program, true);
    line_add_field(&l, "msg", message, false);
    if (e) {
        const char *posix = e->code == RC_REFUSED ? err_posix_name(e->posix) : NULL;
        line_add_field(&l, "rc", posix ? posix : rc_name(e->code), false);
        line_add_field(&l, "err", e->text, false);
    }
    line_send(&l);
    errno = saved_errno;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (!is_shown(level))
        return;
    va_list args;
    va_start(args, fmt);
    log_line(level, NULL, fmt, args);
    va_end(args);
}

void log_err(enum log_level level, const struct err *e, const char *fmt, ...)
{
    if (!is_shown(level))
        return;
    va_list args;
    va_start(args, fmt);
    log_line(level, e, fmt, args);
    va_end(args);
}
