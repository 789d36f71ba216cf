/*
 * tarn-mirror: a site that follows. Finds the command and runs it.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/daemon.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"join", mirror_join, "make an empty database a mirror of a primary"},
    {"run", mirror_run, "the agent of a mirror site"},
    {"status", mirror_status, "show the state of a mirror and how far it is behind"},
    {"leave", mirror_leave, "end the mirror: subscription here, slot at the primary"},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

enum rc mirror_connect(struct pg **out, const char *url, const char *password, uint64_t wait_ms,
                       struct err *e)
{
    const struct pg_options options = {
        .url = url, .application = "tarn-mirror", .password = password};
    return pg_open(out, &options, clock_deadline(wait_ms), e);
}

enum rc mirror_reconnect(struct pg **pg, const char *url, const char *password, struct err *e)
{
    if (*pg && pg_is_open(*pg))
        return RC_OK;
    pg_close(pg);
    return mirror_connect(pg, url, password, MIRROR_CONNECT_MS, e);
}

enum rc mirror_do(struct pg *pg, const char *sql, const char *text, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(text);
    return pg_call(pg, sql, &param, text ? 1 : 0, clock_deadline(MIRROR_CALL_MS), &row, e);
}

enum rc mirror_connect_primary(struct pg *own, struct pg **out, uint64_t wait_ms, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.conninfo()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return e->code;
    if (pg_rows(row) == 0)
        return err_fail(e, RC_NOT_FOUND, "there is no subscription");
    if (mirror_connect(out, pg_get_text(row, 0, 0), NULL, wait_ms, e))
        return err_note(e, "primary");
    return RC_OK;
}

enum rc mirror_lock(struct pg *own, bool *is_ours, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.agent_lock()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return e->code;
    *is_ours = pg_get_bool(row, 0, 0);
    return RC_OK;
}

int mirror_failed(const struct err *e)
{
    (void)fprintf(stderr, "tarn-mirror: %s\n", e->text);
    return exit_code_of(e);
}

static void show_help(FILE *to)
{
    (void)fprintf(to, "usage: tarn-mirror COMMAND …\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        (void)fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(to, "\ntarn-mirror COMMAND --help shows the options of a command.\n");
}

int main(int argc, char **argv)
{
    daemon_harden();
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* steps show as they are done, in a log file too */
    const char *name = argc > 1 ? argv[1] : "";
    log_init("tarn-mirror", LOG_LEVEL_INFO, false);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        show_help(stdout);
        return EXIT_DONE;
    }
    if (name[0])
        (void)fprintf(stderr, "tarn-mirror: there is no command \"%s\"\n", name);
    else
        show_help(stderr);
    return EXIT_USAGE;
}
