#include "fs/base/conf.h"

#include <stdlib.h>

#include "tests/unit/check.h"

struct options {
    bool is_verbose;
    bool is_cached;
    const char *name;
    const char *password;
    int64_t count;
    int64_t cache_size;
    int64_t timeout;
};

#define FIELD(field) offsetof(struct options, field)

static const struct conf_option table[] = {
    {.name = "verbose",
     .letter = 'v',
     .type = CONF_FLAG,
     .help = "say more",
     .offset = FIELD(is_verbose)},
    {.name = "cached",
     .type = CONF_FLAG,
     .default_text = "true",
     .help = "keep blocks",
     .group = "Cache",
     .offset = FIELD(is_cached)},
    {.name = "name",
     .letter = 'n',
     .type = CONF_STRING,
     .default_text = "nobody",
     .env = "OTHER_NAME",
     .help = "whose it is",
     .offset = FIELD(name)},
    {.name = "secret-word",
     .type = CONF_INT,
     .secret = true,
     .help = "not to be shown",
     .offset = FIELD(password)},
    {.name = "count",
     .letter = 'c',
     .type = CONF_INT,
     .default_text = "3",
     .min = 1,
     .max = 10,
     .help = "how many",
     .offset = FIELD(count)},
    {.name = "cache-size",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "100G",
     .min = 1LL << 20,
     .max = 1LL << 50,
     .group = "Cache",
     .help = "how much of the disk the cache may take",
     .offset = FIELD(cache_size)},
    {.name = "timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "10",
     .max = 86400000,
     .reloadable = true,
     .help = "how long to wait",
     .offset = FIELD(timeout)},
};

static const struct conf_command command = {
    .name = "tarn test",
    .arguments = "URL [DIR]",
    .summary = "do what a test does",
    .details = "Exit codes: 0 done, 2 wrong usage.",
    .options = table,
    .option_count = sizeof(table) / sizeof(table[0]),
    .min_arguments = 1,
    .max_arguments = 2,
};

/* One command line, its words after the program's name ended by NULL. */
struct run {
    struct options options;
    struct conf_result result;
    struct err e;
    enum rc rc;
};

static struct run parse(char **words)
{
    struct run run = {0};
    char *argv[32] = {(char *)(uintptr_t) "tarn"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = words[argc - 1];
    run.rc = conf_parse(&command, argc, argv, &run.options, &run.result, &run.e);
    return run;
}

#define PARSE(...) parse((char *[]){__VA_ARGS__, NULL})
#define W(word)    ((char *)(uintptr_t)(word))

static void check_good(struct run *run)
{
    CHECK_OK(run->rc, &run->e);
}

static void check_bad(struct run run, const char *reason)
{
    CHECK_RC(run.rc, RC_INVALID);
    CHECK_CONTAINS(run.e.text, reason);
    CHECK(run.result.arguments == NULL && run.result.texts == NULL);
}

static const char *options_file(const char *text)
{
    static char path[400];
    (void)snprintf(path, sizeof(path), "%s/options", check_directory());
    FILE *file = fopen(path, "we");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

TEST("without anything given, options have their defaults")
{
    struct run run = PARSE(W("url"));
    check_good(&run);
    CHECK(!run.options.is_verbose && run.options.is_cached);
    CHECK_STR(run.options.name, "nobody");
    CHECK_EQ(run.options.count, 3);
    CHECK_EQ(run.options.cache_size, 100LL << 30);
    CHECK_EQ(run.options.timeout, 10000);
    CHECK_EQ(run.result.argument_count, 1);
    conf_release(&run.result);
}

TEST("every way to write an option on the command line works")
{
    struct run run = PARSE(W("--name=a=b"), W("--count"), W("5"), W("-v"), W("url"),
                           W("--no-cached"), W("-ocache-size=300,timeout=1m30s"), W("dir"));
    check_good(&run);
    CHECK(run.options.is_verbose && !run.options.is_cached);
    CHECK_STR(run.options.name, "a=b");
    CHECK_EQ(run.options.count, 5);
    CHECK_EQ(run.options.cache_size, 300LL << 20);
    CHECK_EQ(run.options.timeout, 90000);
    CHECK_STR(run.result.arguments[0], "url");
    CHECK_STR(run.result.arguments[1], "dir");
    conf_release(&run.result);

    run = PARSE(W("-vc7"), W("-n"), W("x"), W("-o"), W("cached=no,cache_size=2G"), W("--"),
                W("-url"));
    check_good(&run);
    CHECK(run.options.is_verbose && !run.options.is_cached);
    CHECK_EQ(run.options.count, 7);
    CHECK_STR(run.options.name, "x");
    CHECK_EQ(run.options.cache_size, 2LL << 30);
    CHECK_STR(run.result.arguments[0], "-url");
    conf_release(&run.result);
}

TEST("a mount option may hold an escaped comma, and flags stand alone there")
{
    struct run run = PARSE(W("-o"), W("name=a\\,b,verbose,,no-cached"), W("url"));
    check_good(&run);
    CHECK_STR(run.options.name, "a,b");
    CHECK(run.options.is_verbose && !run.options.is_cached);
    conf_release(&run.result);
}

TEST("the command line beats the environment, which beats the file, which beats the default")
{
    const char *path = options_file("# comment\n\n count = 4 \nname=\" file \"\ntimeout=1h\r\n"
                                    "verbose = yes\n");
    CHECK_EQ(setenv("TARN_COUNT", "6", 1), 0);
    CHECK_EQ(setenv("OTHER_NAME", "theirs", 1), 0);

    struct run run = PARSE(W("--config"), W(path), W("url"));
    check_good(&run);
    CHECK_EQ(run.options.count, 6);
    CHECK_STR(run.options.name, "theirs");
    CHECK_EQ(run.options.timeout, 3600000);
    CHECK(run.options.is_verbose);
    conf_release(&run.result);

    CHECK_EQ(setenv("TARN_NAME", "ours", 1), 0);
    run = PARSE(W("url"), W("-c9"), W("-c8"));
    check_good(&run);
    CHECK_EQ(run.options.count, 8);
    CHECK_STR(run.options.name, "ours");
    conf_release(&run.result);

    CHECK_EQ(unsetenv("TARN_NAME"), 0);
    CHECK_EQ(unsetenv("OTHER_NAME"), 0);
    CHECK_EQ(unsetenv("TARN_COUNT"), 0);
    run = PARSE(W("--config"), W(path), W("url"));
    check_good(&run);
    CHECK_EQ(run.options.count, 4);
    CHECK_STR(run.options.name, " file ");
    conf_release(&run.result);
}

TEST("what is wrong is named, with where it came from")
{
    check_bad(PARSE(W("url"), W("--colour")), "unknown option \"colour\"");
    check_bad(PARSE(W("url"), W("-x")), "unknown option \"-x\"");
    check_bad(PARSE(W("url"), W("-o"), W("ro")), "unknown option \"ro\"");
    check_bad(PARSE(W("url"), W("--no-name")), "unknown option \"no-name\"");
    check_bad(PARSE(W("url"), W("--count")), "option --count needs a value");
    check_bad(PARSE(W("url"), W("-c")), "option -c needs a value");
    check_bad(PARSE(W("url"), W("-o"), W("count")), "option --count needs a value");
    check_bad(PARSE(W("url"), W("--count=11")),
              "option --count: 11 is out of range, which is 1 to 10");
    check_bad(PARSE(W("url"), W("--count=-1")), "out of range");
    check_bad(PARSE(W("url"), W("--count=1x")), "no whole number");
    check_bad(PARSE(W("url"), W("--count=")), "no whole number");
    check_bad(PARSE(W("url"), W("--count=99999999999999999999")), "no whole number");
    check_bad(PARSE(W("url"), W("--cache-size=100K")),
              "option --cache-size: 100K is out of range, which is 1M to 1P");
    check_bad(PARSE(W("url"), W("--verbose=maybe")), "neither true nor false");
    check_bad(PARSE(W("url"), W("--timeout=5x")), "no duration");
    check_bad(PARSE(W("--verbose")), "tarn test needs URL [DIR]");
    check_bad(PARSE(W("a"), W("b"), W("c")), "unexpected argument \"c\"");
    check_bad(PARSE(W("--config")), "needs a file name");

    CHECK_EQ(setenv("TARN_CACHE_SIZE", "lots", 1), 0);
    check_bad(PARSE(W("url")), "option --cache-size (from TARN_CACHE_SIZE): \"lots\" is no size");
    CHECK_EQ(unsetenv("TARN_CACHE_SIZE"), 0);
}

TEST("a bad options file is refused with its line")
{
    check_bad(PARSE(W("url"), W("--config"), W(options_file("count = 3\nwhat\n"))),
              "line 2 is not name = value");
    check_bad(PARSE(W("url"), W("--config"), W(options_file("colour = red\n"))),
              "line 1: unknown option \"colour\"");
    check_bad(PARSE(W("url"), W("--config"), W(options_file("\n\ncount = 77"))),
              "line 3): 77 is out");
    struct run run = PARSE(W("url"), W("--config"), W("/does/not/exist"));
    CHECK_RC(run.rc, RC_NOT_FOUND);
}

TEST("the value of a secret option is never shown")
{
    struct run run = PARSE(W("url"), W("--secret-word=HIDDEN"));
    CHECK_RC(run.rc, RC_INVALID);
    CHECK_STR(run.e.text, "option --secret-word: its value is malformed");
}

TEST("help is wanted before anything else is checked")
{
    struct run run = PARSE(W("--count=0"), W("--help"));
    check_good(&run);
    CHECK(run.result.help_wanted);
    conf_release(&run.result);
    run = PARSE(W("-vh"));
    CHECK(run.result.help_wanted);
    conf_release(&run.result);
}

static void check_size(const char *text, int64_t expected)
{
    struct err e;
    int64_t value = -1;
    CHECK_OK(conf_parse_size(text, 1 << 20, &value, &e), &e);
    CHECK_EQ(value, expected);
}

TEST("sizes are exact, with and without units")
{
    static const char *const bad[] = {
        "",    "M",   "-1",  "1.",  ".5",   "1..5", "1 M",
        "1Q",  "1KK", "1BB", "1iB", "0x10", "9E",   "99999999999999999999",
        "1e3", "1BiB"};
    check_size("0", 0);
    check_size("3", 3 << 20);
    check_size("300M", 300LL << 20);
    check_size("4k", 4096);
    check_size("4KiB", 4096);
    check_size("4KB", 4096);
    check_size("7B", 7);
    check_size("1.5G", 3LL << 29);
    check_size("0.001K", 1);
    check_size("2T", 2LL << 40);
    check_size("7.999999999999999E", 9223372036854774655);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e;
        int64_t value;
        CHECK_RC(conf_parse_size(bad[i], 1, &value, &e), RC_INVALID);
    }
}

TEST("durations add up their terms")
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"10s", 10000}, {"1m30s", 90000},   {"2h", 7200000}, {"1d", 86400000},
                {"500ms", 500}, {"1.5s", 1500},     {"5", 5000},     {"0", 0},
                {"0.5", 500},   {"1h0m0s", 3600000}};
    static const char *const bad[] = {"",   "s",   "5 s",   "1m30",
                                      "1x", "-1s", "1..5s", "99999999999999999d"};
    struct err e;
    int64_t value;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CHECK_OK(conf_parse_duration(good[i].text, 1000, &value, &e), &e);
        CHECK_EQ(value, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_RC(conf_parse_duration(bad[i], 1000, &value, &e), RC_INVALID);
}

TEST("help shows groups, defaults, ranges and where values come from")
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    CHECK(to);
    conf_help(&command, to);
    CHECK_EQ(fclose(to), 0);
    CHECK(strncmp(text, "Usage: tarn test [OPTION]... URL [DIR]\nDo what a test does.\n", 58) == 0);
    CHECK_CONTAINS(text, "\nOptions:\n  -v, --verbose             say more\n");
    CHECK_CONTAINS(text, "  -c, --count N             how many (default 3; 1 to 10)\n");
    CHECK_CONTAINS(text, "(default nobody; or OTHER_NAME)");
    CHECK_CONTAINS(text,
                   "\nCache:\n      --cached              keep blocks (on unless --no-cached)\n");
    CHECK_CONTAINS(text, "default 100G; 1M to 1P;");
    CHECK_CONTAINS(text, "(default 10; 0 to 1d;");
    CHECK_CONTAINS(text, "--config FILE");
    CHECK_CONTAINS(text, "Exit codes: 0 done");
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        CHECK(strcspn(line, "\n") <= 96);
    free(text);
}

TEST("every rc has a documented exit code")
{
    CHECK_EQ(exit_code_for(RC_OK), EXIT_DONE);
    CHECK_EQ(exit_code_for(RC_INVALID), EXIT_USAGE);
    CHECK_EQ(exit_code_for(RC_UNAVAILABLE), EXIT_UNREACHABLE);
    CHECK_EQ(exit_code_for(RC_DENIED), EXIT_DENIED);
    CHECK_EQ(exit_code_for(RC_CORRUPT), EXIT_FAILED);
}
