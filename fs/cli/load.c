/*
 * tarn load: a volume made of a dump, in an empty database.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "fs/base/url.h"
#include "fs/cli/archive.h"
#include "fs/cli/verbs.h"
#include "fs/meta/format.h"
#include "fs/meta/load_json.h"

#define CONNECT_MS    60000
#define PROGRESS_STEP 256
#define ROW_BYTES_MAX ((size_t)16 << 20)

struct load_command {
    bool binary, json;
    int64_t threads;
};

#define AT(member) .offset = offsetof(struct load_command, member)
static const struct conf_option options[] = {
    {.name = "threads",
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 1000,
     .help = "accepted for scripts: a load is one transaction",
     AT(threads)},
    {.name = "binary",
     .type = CONF_FLAG,
     .help = "refused: only the JSON form is read here",
     AT(binary)},
    {.name = "json", .type = CONF_FLAG, .help = "print what was done as JSON", AT(json)},
};

static const struct conf_command command = {
    .name = "tarn load",
    .arguments = "META-URL [FILE]",
    .summary = "Make a volume of a dump by `tarn dump` or `juicefs dump`, in an empty database.",
    .details =
        "  tarn load postgres://… meta.json.gz && tarn primary adopt postgres://…\n"
        "\n"
        "Without FILE the dump comes from standard input. It is loaded in one transaction: a load\n"
        "that is ended leaves the database empty, and can be begun again. Numbers go on where\n"
        "they were, so that nothing in the bucket is overwritten. Do not go on with the old\n"
        "database beside the new one: both would write to one bucket.\n"
        "\n"
        "Exit codes: 0 done, 1 failed and nothing was loaded, 2 wrong command line or no dump,\n"
        "3 PostgreSQL unreachable, 4 wrong password.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 2,
};

struct load_job {
    struct pg *pg;
    struct archive *archive;
    struct json_stream *stream;
    struct load *load;
    struct progress *progress;
    struct load_document document;
    struct buf row; /* the format row */
    uint64_t nodes;
    bool lacks_secrets;
};

static enum rc read_piece(void *arg, uint8_t *into, size_t room, size_t *got, struct err *e)
{
    return archive_read(arg, into, room, got, e);
}

static void show_progress(void *arg, uint64_t entries)
{
    if (entries % PROGRESS_STEP == 0)
        progress_set(((struct load_job *)arg)->progress, entries, 0);
}

/* The row as stock clients keep it. Secrets that the dump left out are asked for at the end. */
static enum rc make_row(struct load_job *job, struct err *e)
{
    auto_json struct json *setting = NULL;
    struct format *format = NULL;
    if (json_parse(buf_bytes(&job->document.setting), &setting, e))
        return e->code;
    if (json_kind(setting) != JSON_KIND_OBJECT)
        return err_fail(e, RC_INVALID, "this is no dump: its \"Setting\" is no object");
    if (json_write(setting, JSON_LINES, &job->row, e))
        return e->code;
    enum rc rc = format_parse(buf_bytes(&job->row), &format, e);
    format_free(&format);
    job->lacks_secrets = rc == RC_DENIED;
    if (job->lacks_secrets)
        *e = ERR_INIT;
    return job->lacks_secrets ? RC_OK : rc;
}

static enum rc load(struct load_job *job, const char *path, struct err *e)
{
    const char *row, *counters;
    if (archive_open(&job->archive, path, e) ||
        json_stream_open(&job->stream, read_piece, job->archive, e) ||
        load_open(&job->load, job->pg, e))
        return e->code;
    job->progress = progress_open("loading entries", 0, false);
    if (load_json(job->stream, job->load, &job->document, e) || make_row(job, e) ||
        buf_cstr(&job->row, &row, e) || buf_cstr(&job->document.counters, &counters, e))
        return e->code;
    return load_finish(job->load, row, counters, &job->nodes, e);
}

static void report(const struct load_job *job, bool as_json)
{
    if (as_json)
        printf("{\"entries\": %" PRIu64 ", \"inodes\": %" PRIu64 ", \"lacks_secrets\": %s}\n",
               job->document.entries, job->nodes, job->lacks_secrets ? "true" : "false");
    else
        printf("loaded %" PRIu64 " entries, %" PRIu64 " inodes\n"
               "now run `tarn primary adopt META-URL`%s\n",
               job->document.entries, job->nodes,
               job->lacks_secrets ? ", then `tarn config META-URL --secret-key …`" : "");
}

static void release(struct load_job *job)
{
    progress_close(&job->progress);
    load_close(&job->load);
    json_stream_close(&job->stream);
    archive_close(&job->archive);
    pg_close(&job->pg);
    buf_deinit(&job->document.setting);
    buf_deinit(&job->document.counters);
    buf_deinit(&job->row);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct load_command *o = into;
    struct load_job job = {.document.progress = show_progress};
    const struct pg_options pg = {.url = arguments[0], .application = "tarn load"};
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (o->binary)
        return err_fail(e, RC_INVALID,
                        "the binary form is not read here; dump again without --binary");
    job.document.arg = &job;
    buf_init(&job.row, ROW_BYTES_MAX);
    enum rc rc = url_check(arguments[0], e);
    if (!rc)
        rc = pg_open(&job.pg, &pg, clock_deadline(CONNECT_MS), e);
    if (!rc)
        rc = load(&job, arguments[1] ? arguments[1] : "", e);
    if (!rc)
        report(&job, o->json);
    release(&job);
    return rc;
}

int command_load(int argc, char **argv)
{
    struct load_command o;
    return command_run(&command, &o, work, argc, argv);
}
