/*
 * tarn-primary: the site that owns the metadata. Finds the command and runs it.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/daemon.h"
#include "fs/base/json.h"
#include "fs/base/log.h"

#include "primary/primary.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"format", primary_format, "make a new volume and its primary"},
    {"adopt", primary_adopt, "make an existing JuiceFS volume a primary"},
    {"run", primary_run, "the agent of a primary site"},
    {"status", primary_status, "show the primary, its mirrors and their lag"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

enum rc primary_connect(struct pg **out, const char *url, struct err *e)
{
    const struct pg_options options = {.url = url, .application = "tarn-primary"};
    return pg_open(out, &options, clock_deadline(PRIMARY_CONNECT_MS), e);
}

enum rc primary_not_adopted(struct err *e)
{
    err_fail(e, RC_NOT_FOUND, "the database has not been adopted; run tarn-primary adopt URL");
    return err_exits(e, EXIT_NOT_FORMATTED);
}

int primary_failed(const struct err *e)
{
    (void)fprintf(stderr, "tarn-primary: %s\n", e->text);
    return exit_code_of(e);
}

int primary_refusal(const struct findings *f, const char *what)
{
    (void)fprintf(stderr, "tarn-primary: %s: %s%s\n", what, f->first,
                  f->problems > 1 ? " (and more, see above)" : "");
    if (strcmp(f->topic, "volume") == 0)
        return EXIT_NOT_FORMATTED;
    return strcmp(f->topic, "privileges") == 0 ? EXIT_DENIED : EXIT_FAILED;
}

static void show_help(FILE *to)
{
    (void)fprintf(to, "usage: tarn-primary COMMAND …\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(to, "\ntarn-primary COMMAND --help shows the options of a command.\n");
}

int main(int argc, char **argv)
{
    daemon_harden();
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* steps show as they are done, in a log file too */
    const char *name = argc > 1 ? argv[1] : "";
    log_init("tarn-primary", LOG_LEVEL_INFO, false);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        show_help(stdout);
        return EXIT_DONE;
    }
    if (name[0])
        (void)fprintf(stderr, "tarn-primary: there is no command \"%s\"\n", name);
    else
        show_help(stderr);
    return EXIT_USAGE;
}
