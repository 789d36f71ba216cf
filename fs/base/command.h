/*
 * command - from argv to an exit code: what every command of every program does around its work.
 *
 * Threads   main, before others exist
 */
#ifndef FS_BASE_COMMAND_H
#define FS_BASE_COMMAND_H

#include <stddef.h>

#include "fs/base/conf.h"
#include "fs/base/err.h"

/* The work itself. options is what conf filled, arguments are the positional ones. */
typedef enum rc (*command_work)(void *options, const char *const *arguments, struct err *e);

/*
 * Parse argv into *options, answer --help, do the work. A failure puts one line on stderr,
 * "NAME: text", and its exit code is what is answered. Passwords of URLs and the values of secret
 * options do not stay in argv, where ps shows them.
 */
int command_run(const struct conf_command *conf, void *options, command_work work, int argc,
                char **argv);

/* One word of a program that has several commands. */
struct command_verb {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv from the word itself on */
};

/* Run the verb that argv[1] names; --help and an unknown word list them all. */
int command_dispatch(const char *program, const struct command_verb *verbs, size_t count, int argc,
                     char **argv);

/* How a daemon logs: a member of its options, filled by the two COMMAND_LOG_OPTIONS. */
struct command_log {
    const char *level, *format;
};

#define COMMAND_LOG_OPTIONS(options, member)                                                       \
    {.name = "log-level",                                                                          \
     .type = CONF_STRING,                                                                          \
     .default_text = "info",                                                                       \
     .group = "Logging",                                                                           \
     .offset = offsetof(options, member.level),                                                    \
     .help = "debug, info, warn or error"},                                                        \
    {                                                                                              \
        .name = "log-format", .type = CONF_STRING, .default_text = "logfmt", .group = "Logging",   \
        .offset = offsetof(options, member.format), .help = "logfmt or json"                       \
    }

/* Begin to log as asked for. RC_INVALID names a word that is neither level nor format. */
MUST_CHECK enum rc command_log_init(const char *program, const struct command_log *log,
                                    struct err *e);

#endif
