/*
 * conf - options: declared once as a table, given by flag, environment or file.
 *
 * From one table come the parser, --help, a sample file and the reference page. An option's value
 * is taken from, in falling order: the command line (--name=value, --name value, -o name=value,
 * short -x), the environment (TARN_NAME), the file given with --config (name = value lines), the
 * default. Unknown names and values out of range are RC_INVALID, naming the option and the range.
 *
 * Threads   parse before threads start; values are read-only afterwards
 */
#ifndef FS_BASE_CONF_H
#define FS_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/base/err.h"

enum conf_type {
    CONF_FLAG,     /* bool; --name, --name=false, --no-name */
    CONF_SWITCH,   /* the same as const char *: "true", "false", or NULL when it is not given */
    CONF_STRING,   /* const char * */
    CONF_INT,      /* int64_t, range min…max */
    CONF_SIZE,     /* int64_t bytes; "300M", "4K", "1.5G", "2T"; a plain number is in `unit` */
    CONF_DURATION, /* int64_t milliseconds; "10s", "1m30s", "1d"; a plain number is in `unit` */
};

struct conf_option {
    const char *name; /* "cache-size" */
    char letter;      /* short form, or 0 */
    enum conf_type type;
    const char *unit;         /* unit of a plain number: "MiB", "s", …; or NULL */
    const char *default_text; /* parsed like a given value; NULL: unset/false/0 */
    int64_t min, max;         /* of CONF_INT/SIZE/DURATION when max > min, in base units */
    bool reloadable;          /* re-read on SIGHUP */
    bool secret;              /* never printed back */
    const char *env;          /* JuiceFS's own variable, when there is one, beside TARN_* */
    const char *group;        /* heading in --help; NULL: "Options" */
    const char *help;         /* one sentence, lower case, no full stop */
    size_t offset;            /* offsetof the field in the program's options struct */
};

struct conf_command {
    const char *name;      /* "tarn mount" */
    const char *arguments; /* "META-URL MOUNTPOINT" */
    const char *summary;   /* one sentence */
    const char *details;   /* paragraphs, examples and exit codes for --help; or NULL */
    const struct conf_option *options;
    size_t option_count;
    int min_arguments, max_arguments; /* max < 0: any number */
    bool command_line_only;           /* only secrets may come from elsewhere */
};

struct conf_text; /* a string that conf had to copy */

struct conf_result {
    const char **arguments; /* the positional ones, borrowed from argv */
    int argument_count;
    bool help_wanted;        /* --help or -h was given: print and exit 0 */
    struct conf_text *texts; /* conf's own: released with the result */
};

/*
 * Fill *into (the program's options struct) from defaults, file, environment and argv[1..].
 * Strings are borrowed from argv/environ or live until conf_release(). "--" ends the options.
 */
MUST_CHECK enum rc conf_parse(const struct conf_command *command, int argc, char **argv, void *into,
                              struct conf_result *result, struct err *e);
void conf_release(struct conf_result *result);

/* Print what --help shows. */
void conf_help(const struct conf_command *command, FILE *to);

/* Parse one size or duration as conf does. */
MUST_CHECK enum rc conf_parse_size(const char *text, int64_t unit_bytes, int64_t *out,
                                   struct err *e);
MUST_CHECK enum rc conf_parse_duration(const char *text, int64_t unit_ms, int64_t *out,
                                       struct err *e);

/* Documented exit codes of every program. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,        /* the work could not be done; stderr says why */
    EXIT_USAGE = 2,         /* the command line is wrong */
    EXIT_UNREACHABLE = 3,   /* PostgreSQL or the object store does not answer */
    EXIT_DENIED = 4,        /* wrong password, missing privilege */
    EXIT_NOT_FORMATTED = 5, /* the database holds no volume, or one that needs `adopt` */
    EXIT_NOT_READY = 6,     /* a mirror that is not consistent yet, or wrong role */
    EXIT_STORE = 7,         /* the bucket is missing or belongs to another volume */
    EXIT_TIMEOUT = 10,      /* what was waited for has not come in time */
};

/* The exit code for an error that ends a program. */
int exit_code_for(enum rc code);
/* The same, but what err_exits() said goes first. */
int exit_code_of(const struct err *e);

#endif
