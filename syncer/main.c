/*
 * tarn-syncer: brings the blocks of a mirror to its own object store.
 */
#include <stdio.h>

#include "fs/base/command.h"
#include "fs/base/daemon.h"
#include "fs/base/url.h"
#include "syncer/queue.h"
#include "syncer/report.h"
#include "syncer/run.h"

struct syncer_options {
    const char *bucket, *origin, *metrics;
    struct command_log log;
    int64_t workers;
    bool once, json;
};

#define AT(field) offsetof(struct syncer_options, field)

static const struct conf_option run_table[] = {
    {.name = "workers",
     .type = CONF_INT,
     .default_text = "8",
     .min = 1,
     .max = 256,
     .offset = AT(workers),
     .help = "slices handled at the same time by this process"},
    {.name = "once",
     .type = CONF_FLAG,
     .offset = AT(once),
     .help = "end when history is walked and no order waits; exit code 1 and a list if some fail"},
    {.name = "bucket",
     .type = CONF_STRING,
     .offset = AT(bucket),
     .help = "this site's store instead of the one it was joined with"},
    {.name = "origin",
     .type = CONF_STRING,
     .offset = AT(origin),
     .help = "the origin store instead of the one the volume names"},
    {.name = "metrics",
     .type = CONF_STRING,
     .offset = AT(metrics),
     .help = "serve /metrics, /healthz, /readyz and /v1/status on HOST:PORT"},
    COMMAND_LOG_OPTIONS(struct syncer_options, log),
};

static const struct conf_option status_table[] = {
    {.name = "json", .type = CONF_FLAG, .offset = AT(json), .help = "print JSON"},
};

static const struct conf_command run_command = {
    .name = "tarn syncer run",
    .arguments = "META-URL",
    .summary = "Copy the blocks of a mirror from the origin to the mirror's own store.",
    .details =
        "META-URL is the mirror's database. Run as many as you like, on as many machines:\n"
        "each slice is handled by one of them. SIGTERM ends it; nothing is lost by kill -9.\n"
        "\n"
        "Exit codes: 0 done, 1 failed (with --once: some slices cannot be copied; they are\n"
        "listed), 2 wrong command line, 3 PostgreSQL or storage unreachable, 4 wrong\n"
        "password, 5 no volume, 7 bucket missing or of another volume.\n",
    .options = run_table,
    .option_count = sizeof(run_table) / sizeof(run_table[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static const struct conf_command status_command = {
    .name = "tarn syncer status",
    .arguments = "META-URL",
    .summary = "Show what is left to copy and what fails.",
    .details = "Exit codes: 0 shown, 2 wrong command line, 3 PostgreSQL unreachable, 4 wrong\n"
               "password, 5 no volume, 6 a primary.\n",
    .options = status_table,
    .option_count = sizeof(status_table) / sizeof(status_table[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct syncer_options *o = into;
    const struct run_options options = {
        .url = arguments[0],
        .bucket = o->bucket,
        .origin = o->origin,
        .metrics = o->metrics,
        .workers = (unsigned)o->workers,
        .is_once = o->once,
    };
    if (command_log_init("tarn-syncer", &o->log, e) || url_check(options.url, e))
        return e->code;
    return run_syncer(&options, e);
}

static enum rc print_json(const struct backlog *backlog, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, 65536);
    const char *line;
    if (report_backlog_json(backlog, &text, e) || buf_cstr(&text, &line, e))
        return e->code;
    puts(line);
    return RC_OK;
}

static enum rc status(void *into, const char *const *arguments, struct err *e)
{
    const struct syncer_options *o = into;
    struct queue *queue = NULL;
    struct backlog backlog;
    if (url_check(arguments[0], e) || queue_open(&queue, arguments[0], e))
        return e->code;
    enum rc rc = queue_check_mirror(queue, e);
    if (!rc)
        rc = queue_backlog(queue, &backlog, e);
    if (!rc && o->json)
        rc = print_json(&backlog, e);
    else if (!rc) {
        report_backlog_text(&backlog, stdout);
        report_failures(queue, stdout);
    }
    queue_close(&queue);
    return rc;
}

static int main_run(int argc, char **argv)
{
    struct syncer_options options = {.json = false};
    return command_run(&run_command, &options, run, argc, argv);
}

static int main_status(int argc, char **argv)
{
    struct syncer_options options = {.json = false};
    return command_run(&status_command, &options, status, argc, argv);
}

static const struct command_verb verbs[] = {
    {"run", "copy the blocks of a mirror to its own store", main_run},
    {"status", "show what is left to copy and what fails", main_status},
};

int main(int argc, char **argv)
{
    daemon_harden();
    return command_dispatch("tarn syncer", verbs, sizeof(verbs) / sizeof(verbs[0]), argc, argv);
}
