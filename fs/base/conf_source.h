/*
 * conf_source - where the texts of options come from: the command line, the environment, a file,
 * and what the table says. Private to conf.
 *
 * The sources are read from the strongest to the weakest, and an option keeps the first text that
 * it is given.
 *
 * Threads one at a time · Blocking reads the file
 */
#ifndef FS_BASE_CONF_SOURCE_H
#define FS_BASE_CONF_SOURCE_H

#include "fs/base/conf.h"

struct conf_text {
    struct conf_text *next;
    char text[];
};

/* Who gave a value, the strongest first. */
enum source { SOURCE_NONE, SOURCE_COMMAND_LINE, SOURCE_ENVIRONMENT, SOURCE_FILE, SOURCE_DEFAULT };

struct given {
    const char *text;
    enum source source;
    const char *variable; /* SOURCE_ENVIRONMENT: which one */
    int line;             /* SOURCE_FILE */
};

struct parse {
    const struct conf_command *command;
    struct given *given; /* one per option of the table */
    const char *config_path;
    struct conf_result *result;
    struct err *e;
};

static inline struct given *conf_given(const struct parse *p, const struct conf_option *option)
{
    return &p->given[option - p->command->options];
}

/* Take all of them. With --help on the command line the others are left out. */
MUST_CHECK enum rc conf_take(struct parse *p, int argc, char **argv);

#endif
