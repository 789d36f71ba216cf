#include "fs/base/log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "fs/base/json.h"
#include "tests/unit/check.h"

/* Run log with stderr in a file, and give what was written: valid until the next call. */
static const char *captured(void (*log)(void))
{
    static char text[16384];
    char path[400];
    (void)snprintf(path, sizeof(path), "%s/stderr", check_directory());
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int saved = dup(STDERR_FILENO);
    CHECK(file >= 0 && saved >= 0 && dup2(file, STDERR_FILENO) >= 0);
    log();
    CHECK(dup2(saved, STDERR_FILENO) >= 0);
    ssize_t size = pread(file, text, sizeof(text) - 1, 0);
    (void)close(saved);
    (void)close(file);
    CHECK(size >= 0);
    text[size] = 0;
    return text;
}

static void log_awkward(void)
{
    struct err e;
    (void)err_fail(&e, RC_NOT_FOUND, "no \"%s\"", "x");
    log_err(LOG_LEVEL_ERROR, &e, "line\nbreak \\ tab\t bell\a bad\xFF good\xC3\xA9");
}

static void log_below(void)
{
    log_debug("hidden");
    log_info("hidden");
    log_warn("shown");
}

static void log_long(void)
{
    static char text[8000];
    memset(text, '"', sizeof(text) - 1);
    log_warn("%s", text);
}

TEST("a line of logfmt quotes what needs it and never breaks")
{
    log_init("prog", LOG_LEVEL_INFO, false);
    const char *text = captured(log_awkward);
    CHECK_CONTAINS(text, " level=error prog=prog msg=\"line\\nbreak \\\\ tab\\t bell\\u0007 "
                         "bad\xEF\xBF\xBD good\xC3\xA9\" rc=\"not found\" err=\"no \\\"x\\\"\"\n");
    CHECK(strncmp(text, "ts=20", 5) == 0);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
}

TEST("a line of JSON can be parsed, whatever bytes are in it")
{
    log_init("prog", LOG_LEVEL_INFO, true);
    const char *text = captured(log_awkward);
    struct err e;
    auto_json struct json *line = NULL;
    CHECK_OK(json_parse((struct bytes){(const uint8_t *)text, strlen(text)}, &line, &e), &e);
    CHECK_STR(json_get_string(line, "level", ""), "error");
    CHECK_STR(json_get_string(line, "rc", ""), "not found");
    CHECK_STR(json_get_string(line, "err", ""), "no \"x\"");
}

TEST("a message too long for a line is cut, and the line is still whole")
{
    log_init("prog", LOG_LEVEL_INFO, true);
    const char *text = captured(log_long);
    struct err e;
    auto_json struct json *line = NULL;
    CHECK(strlen(text) <= 4096);
    CHECK_OK(json_parse((struct bytes){(const uint8_t *)text, strlen(text)}, &line, &e), &e);
}

TEST("what is below the level is not shown")
{
    enum log_level level;
    struct err e;
    CHECK_OK(log_level_parse("warn", &level, &e), &e);
    log_init("prog", level, false);
    const char *text = captured(log_below);
    CHECK(!strstr(text, "hidden") && strstr(text, "shown"));
    CHECK_RC(log_level_parse("loud", &level, &e), RC_INVALID);
}
