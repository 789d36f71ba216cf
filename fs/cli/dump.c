/*
 * tarn dump: the metadata of a volume as a JSON document, in the form of JuiceFS.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "fs/cli/archive.h"
#include "fs/cli/verbs.h"
#include "fs/meta/dump.h"
#include "fs/meta/settings.h"

#define CONNECT_MS    60000
#define PROGRESS_STEP 256

struct dump_command {
    const char *subdir;
    bool skip_trash, keep_secret_key, fast, binary, json;
    int64_t threads;
};

#define AT(member) .offset = offsetof(struct dump_command, member)
static const struct conf_option options[] = {
    {.name = "subdir",
     .type = CONF_STRING,
     .help = "only what is below this directory",
     AT(subdir)},
    {.name = "skip-trash", .type = CONF_FLAG, .help = "leave the trash out", AT(skip_trash)},
    {.name = "keep-secret-key",
     .type = CONF_FLAG,
     .help = "keep the secret keys of the object storage, which the file then gives away",
     AT(keep_secret_key)},
    {.name = "fast",
     .type = CONF_FLAG,
     .help = "accepted for scripts: a dump never holds the whole tree in memory",
     AT(fast)},
    {.name = "threads",
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 1000,
     .help = "accepted for scripts: one snapshot is read in one stream",
     AT(threads)},
    {.name = "binary",
     .type = CONF_FLAG,
     .help = "refused: only the JSON form is written here",
     AT(binary)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print what was done as JSON, on standard error "
             "when the dump goes to standard output",
     AT(json)},
};

static const struct conf_command command = {
    .name = "tarn dump",
    .arguments = "META-URL [FILE]",
    .summary = "Write the metadata of a volume into a file, for `tarn load` or `juicefs load`.",
    .details =
        "  tarn dump postgres://… meta.json.gz\n"
        "  tarn dump postgres://… --subdir /projects > projects.json\n"
        "\n"
        "A name ending in .gz is compressed; without FILE the dump goes to standard output. It\n"
        "shows one moment of the volume, however long it takes, and mounts go on meanwhile. Data\n"
        "are not in it: the objects stay in the bucket, and are needed beside it. Left out, as\n"
        "by stock clients: sessions, locks, slices that wait for their deletion.\n"
        "\n"
        "Exit codes: 0 done, 1 failed (no file is left), 2 wrong command line, 3 PostgreSQL\n"
        "unreachable, 4 wrong password, 5 no volume in the database.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 2,
};

struct dump_job {
    struct archive *archive;
    struct progress *progress;
};

static enum rc write_piece(void *arg, struct bytes piece, struct err *e)
{
    return archive_write(((struct dump_job *)arg)->archive, piece, e);
}

static void show_progress(void *arg, uint64_t entries)
{
    if (entries % PROGRESS_STEP == 0)
        progress_set(((struct dump_job *)arg)->progress, entries, 0);
}

static void report(const struct dump_command *o, const char *path, const struct dump_result *r)
{
    FILE *to = *path ? stdout : stderr;
    if (o->json)
        fprintf(to, "{\"entries\": %" PRIu64 ", \"corrupt_entries\": %" PRIu64 "}\n", r->entries,
                r->corrupt);
    else
        fprintf(to, "dumped %" PRIu64 " entries\n", r->entries);
    if (r->corrupt)
        fprintf(stderr, "%" PRIu64 " entries without an inode were left out; see tarn fsck\n",
                r->corrupt);
    if (r->has_secrets)
        fputs("the secret keys were left out; `config --secret-key` gives them back after a load\n",
              stderr);
}

static enum rc dump(const struct dump_command *o, struct pg *pg, const char *path, struct err *e)
{
    struct dump_job job = {.archive = NULL};
    struct dump_result result;
    const struct dump_options what = {.subdir = o->subdir,
                                      .skip_trash = o->skip_trash,
                                      .keep_secrets = o->keep_secret_key,
                                      .sink = write_piece,
                                      .arg = &job,
                                      .progress = show_progress};
    if (archive_create(&job.archive, path, e))
        return e->code;
    if (*path)
        job.progress = progress_open("dumping entries", 0, false);
    enum rc rc = dump_write(pg, &what, &result, e);
    if (!rc)
        rc = archive_finish(job.archive, e);
    progress_close(&job.progress);
    archive_close(&job.archive);
    if (!rc)
        report(o, path, &result);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct dump_command *o = into;
    struct pg *pg = NULL;
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (o->binary)
        return err_fail(e, RC_INVALID,
                        "the binary form is not written here; leave --binary out for JSON, which "
                        "both clients load");
    const char *path = arguments[1] ? arguments[1] : "";
    enum rc rc =
        settings_connect(&pg, arguments[0], "tarn dump", false, clock_deadline(CONNECT_MS), e);
    if (!rc)
        rc = dump(o, pg, path, e);
    pg_close(&pg);
    return rc;
}

int command_dump(int argc, char **argv)
{
    struct dump_command o;
    return command_run(&command, &o, work, argc, argv);
}
