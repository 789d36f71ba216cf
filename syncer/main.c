/*
 * tarn-syncer: brings the blocks of a mirror to its own object store.
 */
#include <stdio.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/base/daemon.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/volume/volume.h"
#include "syncer/queue.h"
#include "syncer/report.h"
#include "syncer/run.h"

struct syncer_options {
    const char *bucket, *origin, *metrics, *log_level, *log_format;
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
    {.name = "log-level",
     .type = CONF_STRING,
     .default_text = "info",
     .offset = AT(log_level),
     .help = "debug, info, warn or error"},
    {.name = "log-format",
     .type = CONF_STRING,
     .default_text = "logfmt",
     .offset = AT(log_format),
     .help = "logfmt or json"},
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
               "password, 5 no volume.\n",
    .options = status_table,
    .option_count = sizeof(status_table) / sizeof(status_table[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc run(const struct syncer_options *o, const char *url, struct err *e)
{
    enum log_level level;
    if (log_level_parse(o->log_level, &level, e))
        return e->code;
    log_init("tarn-syncer", level, strcmp(o->log_format, "json") == 0);
    const struct run_options options = {
        .url = url,
        .bucket = o->bucket,
        .origin = o->origin,
        .metrics = o->metrics,
        .workers = (unsigned)o->workers,
        .is_once = o->once,
    };
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

static enum rc status(const struct syncer_options *o, const char *url, struct err *e)
{
    struct queue *queue = NULL;
    struct backlog backlog;
    enum rc rc = queue_open(&queue, url, e);
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

static int usage(FILE *to, int code)
{
    fputs("usage: tarn syncer run|status META-URL [options]\n"
          "  run     copy the blocks of a mirror to its own store\n"
          "  status  show what is left to copy and what fails\n"
          "tarn syncer COMMAND --help tells more.\n",
          to);
    return code;
}

int main(int argc, char **argv)
{
    struct syncer_options options = {.json = false};
    struct conf_result conf;
    struct err e = ERR_INIT;

    if (argc < 2)
        return usage(stderr, EXIT_USAGE);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout, EXIT_DONE);
    bool is_run = strcmp(argv[1], "run") == 0;
    if (!is_run && strcmp(argv[1], "status") != 0)
        return usage(stderr, EXIT_USAGE);

    const struct conf_command *command = is_run ? &run_command : &status_command;
    if (conf_parse(command, argc - 1, argv + 1, &options, &conf, &e)) {
        fprintf(stderr, "%s: %s; see %s --help\n", command->name, e.text, command->name);
        return EXIT_USAGE;
    }
    if (conf.help_wanted) {
        conf_help(command, stdout);
        return EXIT_DONE;
    }
    daemon_harden();
    const char *url = conf.arguments[0];
    if (!url_check(url, &e))
        (void)!(is_run ? run(&options, url, &e) : status(&options, url, &e));
    if (e.code)
        fprintf(stderr, "%s: %s\n", command->name, e.text);
    conf_release(&conf);
    return exit_code_of(&e);
}
