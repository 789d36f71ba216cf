/*
 * tarn-primary: the site that owns the metadata. Finds the command and runs it.
 */
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/daemon.h"
#include "fs/base/log.h"
#include "primary/primary.h"

static const struct command_verb verbs[] = {
    {"format", "make a new volume and its primary", primary_format},
    {"adopt", "make an existing JuiceFS volume a primary", primary_adopt},
    {"run", "the agent of a primary site", primary_run},
    {"status", "show the primary, its mirrors and their lag", primary_status},
    {"mark", "make a marker that mirrors can be waited for by", primary_mark},
    {"destroy", "remove a volume with all its data", primary_destroy},
};

enum rc primary_connect(struct pg **out, const char *url, struct err *e)
{
    const struct pg_options options = {.url = url, .application = "tarn-primary"};
    return pg_open(out, &options, clock_deadline(PRIMARY_CONNECT_MS), e);
}

enum rc primary_not_adopted(struct err *e)
{
    err_fail(e, RC_NOT_FOUND, "the database has not been adopted; run tarn primary adopt URL");
    return err_exits(e, EXIT_NOT_FORMATTED);
}

int main(int argc, char **argv)
{
    daemon_harden();
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* steps show as they are done, in a log file too */
    log_init("tarn-primary", LOG_LEVEL_INFO, false);
    return command_dispatch("tarn primary", verbs, sizeof(verbs) / sizeof(verbs[0]), argc, argv);
}
