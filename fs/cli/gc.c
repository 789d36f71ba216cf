/*
 * tarn gc: what the bucket holds that the metadata does not ask for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/url.h"
#include "fs/cli/print.h"
#include "fs/cli/verbs.h"
#include "fs/upkeep/gc.h"

#define SKIP_VARIABLE "JFS_GC_SKIPPEDTIME"

struct gc_command {
    const char *bucket;
    bool deletes, compacts, json;
    int64_t threads, mirror_wait_ms;
};

static const struct conf_option options[] = {
    {.name = "delete",
     .type = CONF_FLAG,
     .offset = offsetof(struct gc_command, deletes),
     .help = "delete leaked objects, old trash, removed files and slices nobody refers to"},
    {.name = "compact",
     .type = CONF_FLAG,
     .offset = offsetof(struct gc_command, compacts),
     .help = "compact every chunk of several records"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 256,
     .offset = offsetof(struct gc_command, threads),
     .help = "threads that delete and compact"},
    {.name = "mirror-wait",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 0,
     .max = 86400000,
     .offset = offsetof(struct gc_command, mirror_wait_ms),
     .help = "how long to wait for mirrors that are behind before nothing is deleted"},
    {.name = "bucket",
     .type = CONF_STRING,
     .offset = offsetof(struct gc_command, bucket),
     .help = "where the objects are, instead of what the volume says"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct gc_command, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn gc",
    .arguments = "META-URL",
    .summary = "Compare the objects of a volume with its metadata, and find those that leaked.",
    .details =
        "Without --delete and --compact nothing is written anywhere, and a read-only role is\n"
        "enough. Objects younger than an hour are left alone (" SKIP_VARIABLE ": other\n"
        "seconds; while sessions exist --delete keeps to the hour, since their writers may be\n"
        "about to commit).\n"
        "Nothing is deleted after any error of a listing, from a bucket that does not show that\n"
        "it is the volume's, with a database that is behind its bucket, at a mirror, or before\n"
        "every mirror has passed the moment at which the objects were found to be leaked.\n"
        "\n"
        "Exit codes: 0 done, 1 failed and the rest was left alone, 2 wrong command line,\n"
        "3 PostgreSQL or the bucket does not answer, 4 wrong password, 5 no volume in the\n"
        "database, 6 not a primary, 7 bucket missing or another volume's.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc read_skip(int64_t *out, struct err *e)
{
    const char *text = getenv(SKIP_VARIABLE);
    *out = GC_SKIP_S;
    if (!text || !text[0])
        return RC_OK;
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno || *end || *out < 0)
        return err_fail(e, RC_INVALID, SKIP_VARIABLE "=%s is no number of seconds", text);
    return RC_OK;
}

static enum rc add_tally(struct json *doc, const char *name, const struct gc_tally *t,
                         struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_int(item, "objects", (int64_t)t->objects, e) ||
        json_set_int(item, "bytes", (int64_t)t->bytes, e))
        return e->code;
    return json_set(doc, name, &item, e);
}

static enum rc add_waiting(struct json *doc, const struct ledger_waiting *w, struct err *e)
{
    const struct gc_tally files = {w->delfiles, w->delfile_bytes};
    const struct gc_tally slices = {w->delslices, w->delslice_bytes};
    const struct gc_tally pending = {w->pending, w->pending_bytes};
    if (add_tally(doc, "delfiles", &files, e) || add_tally(doc, "delslices", &slices, e) ||
        add_tally(doc, "unreferenced_slices", &pending, e) ||
        json_set_int(doc, "detached_nodes", (int64_t)w->detached, e))
        return e->code;
    return json_set_int(doc, "trash_entries", (int64_t)w->trash, e);
}

static enum rc print_json(const struct gc_report *r, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (add_tally(doc, "valid", &r->valid, e) || add_tally(doc, "pending_delete", &r->pending, e) ||
        add_tally(doc, "compacted", &r->compacted, e) || add_tally(doc, "leaked", &r->leaked, e) ||
        add_tally(doc, "skipped", &r->skipped, e) || add_tally(doc, "foreign", &r->foreign, e) ||
        add_tally(doc, "deleted", &r->deleted, e) || add_tally(doc, "kept", &r->kept, e) ||
        json_set_int(doc, "skipped_seconds", r->skip_s, e) ||
        json_set_int(doc, "purged", (int64_t)r->purged, e) ||
        json_set_int(doc, "compacted_chunks", (int64_t)r->compacted_chunks, e) ||
        json_set_int(doc, "replaced_records", (int64_t)r->replaced_records, e) ||
        add_waiting(doc, &r->waiting, e))
        return e->code;
    return json_print(doc, stdout, e);
}

/* The line that stock clients print, and what they do not know. */
static void print_text(const struct gc_report *r, bool deletes)
{
    const struct ledger_waiting *w = &r->waiting;
    const uint64_t scanned = r->valid.objects + r->pending.objects + r->compacted.objects +
                             r->leaked.objects + r->skipped.objects;
    printf("scanned %" PRIu64 " objects, %" PRIu64 " valid, %" PRIu64 " pending delete (%" PRIu64
           " bytes), %" PRIu64 " compacted (%" PRIu64 " bytes), %" PRIu64 " leaked (%" PRIu64
           " bytes), %" PRIu64 " delslices (%" PRIu64 " bytes), %" PRIu64 " delfiles (%" PRIu64
           " bytes), %" PRIu64 " skipped (%" PRIu64 " bytes)\n",
           scanned, r->valid.objects, r->pending.objects, r->pending.bytes, r->compacted.objects,
           r->compacted.bytes, r->leaked.objects, r->leaked.bytes, w->delslices, w->delslice_bytes,
           w->delfiles, w->delfile_bytes, r->skipped.objects, r->skipped.bytes);
    if (r->foreign.objects)
        printf("%" PRIu64 " objects (%" PRIu64 " bytes) are no blocks and were left alone\n",
               r->foreign.objects, r->foreign.bytes);
    if (w->trash || w->detached)
        printf("%" PRIu64 " entries in the trash, %" PRIu64 " unfinished clones\n", w->trash,
               w->detached);
    if (r->compacted_chunks)
        printf("Compacted %" PRIu64 " chunks (%" PRIu64 " slices)\n", r->compacted_chunks,
               r->replaced_records);
    if (r->purged)
        printf("cleaned %" PRIu64 " entries, files and slices that had waited\n", r->purged);
    if (deletes)
        printf("deleted %" PRIu64 " leaked objects (%" PRIu64 " bytes)\n", r->deleted.objects,
               r->deleted.bytes);
    else if (r->leaked.objects)
        puts("Please add `--delete` to clean leaked objects");
}

static enum rc run(const char *url, const struct gc_command *o, struct err *e)
{
    const struct volume_options of_volume = {.meta = {.url = url,
                                                      .application = "tarn gc",
                                                      .max_conns = (unsigned)o->threads,
                                                      .is_read_only = !o->deletes && !o->compacts},
                                             .bucket = o->bucket,
                                             .checks_uuid = true};
    struct gc_options of_gc = {.deletes = o->deletes,
                               .compacts = o->compacts,
                               .threads = (unsigned)o->threads,
                               .mirror_wait_ms = (uint64_t)o->mirror_wait_ms};
    struct gc_report report;
    struct volume *volume = NULL;
    if (read_skip(&of_gc.skip_s, e) || volume_open(&volume, &of_volume, e))
        return e->code;
    enum rc rc = gc_run(volume, &of_gc, &report, e);
    if (rc == RC_OK && o->json)
        rc = print_json(&report, e);
    else if (rc == RC_OK)
        print_text(&report, o->deletes);
    volume_close(&volume);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    return url_check(arguments[0], e) ? e->code : run(arguments[0], into, e);
}

int command_gc(int argc, char **argv)
{
    struct gc_command o;
    return command_run(&command, &o, work, argc, argv);
}
