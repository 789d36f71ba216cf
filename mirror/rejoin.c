/*
 * rejoin: a database that was the primary until another site was promoted by force. It is fenced;
 * what it has committed and the new primary has not applied is read from the slot that was kept,
 * and saved; then it gives itself up and is joined as a mirror. Nothing of it is merged: what
 * somebody needs of it is in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/meta/fence.h"
#include "mirror/mirror.h"
#include "mirror/tail_read.h"

#define PAGE          200000 /* changes read at a time */
#define NAME_BYTES    64
#define LINE_MAX_SIZE ((size_t)64 << 20)
#define SHOWN_MAX     50 /* commits that are printed; the file has them all */
#define ARGUMENTS_MAX 12

struct rejoin_options {
    const char *primary, *primary_password, *save, *bucket, *origin;
    bool is_unlisted, is_listing_only;
};

static const struct conf_option options[] = {
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the new primary, as the old one's PostgreSQL reaches it",
     .offset = offsetof(struct rejoin_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the new primary; give it by the environment",
     .offset = offsetof(struct rejoin_options, primary_password)},
    {.name = "save",
     .type = CONF_STRING,
     .help = "file for the differences, one JSON object a line; default: tarn-differences-SITE-N",
     .offset = offsetof(struct rejoin_options, save)},
    {.name = "list",
     .type = CONF_FLAG,
     .help = "fence, list and save, but change nothing else",
     .offset = offsetof(struct rejoin_options, is_listing_only)},
    {.name = "unlisted",
     .type = CONF_FLAG,
     .help = "go on though the slot is gone and the differences cannot be listed: they are lost",
     .offset = offsetof(struct rejoin_options, is_unlisted)},
    {.name = "bucket",
     .type = CONF_STRING,
     .help = "this site's bucket; default: the one that it has written, unless both write the same",
     .offset = offsetof(struct rejoin_options, bucket)},
    {.name = "origin",
     .type = CONF_STRING,
     .help = "where this site finds the new primary's bucket, instead of what the volume says",
     .offset = offsetof(struct rejoin_options, origin)},
};

static const struct conf_command command = {
    .name = "tarn mirror rejoin",
    .arguments = "OLD-PRIMARY-URL",
    .summary = "list what a lost primary has of its own, save it, and make it a mirror",
    .details =
        "  tarn mirror rejoin postgres://owner@db.paris/volume \\\n"
        "      --primary postgres://repl@db.tokyo/volume --save paris.jsonl\n\n"
        "After a promotion by force. The old primary is made read-only; every commit that the new\n"
        "one has not applied goes to the file, each changed row with its values before and\n"
        "after as far as they were logged; then its tables are copied anew from the new primary.\n"
        "Its blocks stay where they are. An interrupted rejoin is begun again by the same command.\n"
        "Exit codes: 0 it is a mirror, 1 it cannot be, 2 wrong use, 3 unreachable, 4 denied.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* What a site says of itself. */
struct place {
    char site[NAME_BYTES], role[16], bucket[PATH_MAX], format_bucket[PATH_MAX], uuid[64];
    int64_t epoch;
};

struct rejoin {
    const struct rejoin_options *o;
    const char *url;
    struct pg *old, *fresh;
    struct place was, is;
    char slot[NAME_BYTES + 8];

    /* the list */
    FILE *file;
    char path[PATH_MAX];
    char shown_commit[32];
    int shown;
};

/* --------------------------------------------------------------------------------- both sites */

static void keep(char *to, size_t size, const char *text)
{
    (void)snprintf(to, size, "%s", text ? text : "");
}

static enum rc read_place(struct pg *pg, struct place *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    auto_json struct json *format = NULL;
    if (pg_call(pg, "SELECT * FROM tarn_1.volume()", NULL, 0, clock_deadline(MIRROR_CALL_MS), &row,
                e))
        return e->code;
    const int column = pg_column(row, "format");
    if (!pg_is_null(row, 0, column) && json_parse(pg_get_bytes(row, 0, column), &format, e))
        return e->code;
    keep(out->site, sizeof(out->site), pg_get_text(row, 0, pg_column(row, "site")));
    keep(out->role, sizeof(out->role), pg_get_text(row, 0, pg_column(row, "role")));
    keep(out->bucket, sizeof(out->bucket), pg_get_text(row, 0, pg_column(row, "origin_bucket")));
    keep(out->format_bucket, sizeof(out->format_bucket), json_get_string(format, "Bucket", ""));
    keep(out->uuid, sizeof(out->uuid), json_get_string(format, "UUID", ""));
    out->epoch = pg_get_int8(row, 0, pg_column(row, "epoch"));
    return RC_OK;
}

static enum rc judge(struct rejoin *r, struct err *e)
{
    if (strcmp(r->is.role, "primary") != 0)
        return err_fail(e, RC_INVALID, "--primary is the URL of \"%s\", which is no primary",
                        r->is.site);
    if (r->was.uuid[0] && strcmp(r->was.uuid, r->is.uuid) != 0)
        return err_fail(e, RC_INVALID, "the two databases hold different volumes");
    if (strcmp(r->was.role, "primary") == 0 && r->was.epoch >= r->is.epoch)
        return err_fail(e, RC_INVALID,
                        "\"%s\" is in epoch %" PRId64 ", and \"%s\" in %" PRId64
                        ": it is not the older one",
                        r->was.site, r->was.epoch, r->is.site, r->is.epoch);
    return RC_OK;
}

static enum rc open_both(struct rejoin *r, struct err *e)
{
    if (mirror_connect(&r->old, r->url, NULL, MIRROR_CONNECT_MS, e) ||
        mirror_do(r->old, "SELECT tarn_1.write_anyway()", NULL, e) ||
        read_place(r->old, &r->was, e))
        return err_note(e, "old primary");
    if (mirror_connect(&r->fresh, r->o->primary, r->o->primary_password, MIRROR_CONNECT_MS, e) ||
        read_place(r->fresh, &r->is, e))
        return err_note(e, "new primary");
    (void)snprintf(r->slot, sizeof(r->slot), "tarn_%s", r->is.site);
    return judge(r, e);
}

/* Whoever still writes here writes for nobody. */
static enum rc fence(struct rejoin *r, struct err *e)
{
    char why[128];
    (void)snprintf(why, sizeof(why), "\"%s\" is the primary, epoch %" PRId64, r->is.site,
                   r->is.epoch);
    if (fence_raise(r->old, "FENCED", why, e))
        return err_note(e, "\"%s\"", r->was.site);
    (void)printf("fence    \"%s\" is read-only\n", r->was.site);
    return RC_OK;
}

/* ----------------------------------------------------------------------------------- the list */

/* A file that is not there yet: what an earlier run has saved stays. */
static enum rc open_file(struct rejoin *r, struct err *e)
{
    for (int number = 1; number < 1000; number++) {
        if (r->o->save && number == 1)
            keep(r->path, sizeof(r->path), r->o->save);
        else if (r->o->save)
            (void)snprintf(r->path, sizeof(r->path), "%s.%d", r->o->save, number);
        else
            (void)snprintf(r->path, sizeof(r->path), "tarn-differences-%s-%d", r->was.site, number);
        auto_close int fd = open(r->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd == -1 && errno == EEXIST)
            continue;
        r->file = fd == -1 ? NULL : fdopen(fd, "w");
        if (!r->file)
            return err_os(e, errno, "could not make file \"%s\"", r->path);
        (void)take_fd(&fd);
        return RC_OK;
    }
    return err_fail(e, RC_EXISTS, "there are too many files like \"%s\"", r->path);
}

static void show_line(struct rejoin *r, const struct json *line)
{
    const char *commit = json_get_string(line, "commit", "");
    if (strcmp(commit, r->shown_commit) == 0 || r->shown == SHOWN_MAX)
        return;
    keep(r->shown_commit, sizeof(r->shown_commit), commit);
    (void)printf("differs  commit %s at %s: %s of %s%s\n", commit, json_get_string(line, "at", ""),
                 json_get_string(line, "op", ""), json_get_string(line, "table", ""),
                 ++r->shown == SHOWN_MAX ? " … and more, in the file" : " …");
}

static enum rc save_line(struct json **line, void *arg, struct err *e)
{
    struct rejoin *r = arg;
    auto_json struct json *taken = take_pointer(line);
    auto_buf struct buf text;
    buf_init(&text, LINE_MAX_SIZE);
    if (json_write(taken, JSON_COMPACT, &text, e) || buf_add_str(&text, "\n", e))
        return e->code;
    if (fwrite(text.data, 1, text.size, r->file) != text.size)
        return err_os(e, errno, "could not write \"%s\"", r->path);
    show_line(r, taken);
    return RC_OK;
}

static enum rc sync_file(struct rejoin *r, struct err *e)
{
    if (fflush(r->file) != 0 || fsync(fileno(r->file)) == -1)
        return err_os(e, errno, "could not write \"%s\"", r->path);
    return RC_OK;
}

/* Page by page; what is on disk is let go at the old primary, but for a list alone. */
static enum rc save_pages(struct rejoin *r, struct tail *t, struct err *e)
{
    const int32_t page = r->o->is_listing_only ? INT32_MAX : PAGE;
    for (int messages = 1; messages > 0;) {
        auto_result struct pg_result *row = NULL;
        if (tail_read(r->old, r->slot, page, t, save_line, r, &messages, e) || sync_file(r, e))
            return e->code;
        if (r->o->is_listing_only)
            return RC_OK;
        const struct pg_param params[] = {pg_text(r->slot),
                                          pg_int8((int64_t)tail_sums(t)->end_lsn)};
        if (messages > 0 && pg_call(r->old, "SELECT tarn_1.tail_saved($1,$2)", params, 2,
                                    clock_deadline(MIRROR_CALL_MS), &row, e))
            return err_note(e, "could not advance slot \"%s\"", r->slot);
    }
    return RC_OK;
}

static enum rc save_differences(struct rejoin *r, struct err *e)
{
    struct tail *t = NULL;
    uint64_t applied = 0;
    if (tail_applied(r->fresh, r->was.site, &applied, e) || open_file(r, e) ||
        tail_open(&t, applied, e))
        return e->code;
    enum rc rc = save_pages(r, t, e);
    const struct tail_sums sums = *tail_sums(t);
    tail_close(&t);
    if (!rc)
        (void)printf("saved    %" PRId64 " commits that \"%s\" alone has, %" PRId64
                     " rows inserted, %" PRId64 " updated, %" PRId64 " deleted, to %s\n",
                     sums.commits, r->was.site, sums.inserts, sums.updates, sums.deletes, r->path);
    return rc;
}

static enum rc has_slot(struct rejoin *r, bool *out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(r->slot);
    if (pg_call(r->old, "SELECT * FROM tarn_1.slot_of($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    const char *status = pg_get_text(row, 0, pg_column(row, "wal_status"));
    *out = status && strcmp(status, "lost") != 0;
    return RC_OK;
}

static enum rc list(struct rejoin *r, struct err *e)
{
    bool is_there = false;
    if (has_slot(r, &is_there, e))
        return err_note(e, "could not look for slot \"%s\"", r->slot);
    if (is_there)
        return save_differences(r, e);
    if (r->o->is_unlisted)
        return RC_OK;
    return err_fail(e, RC_NOT_FOUND,
                    "slot \"%s\" is gone, so nobody can list what \"%s\" alone has; dump what is "
                    "needed of it (tarn dump), then go on with --unlisted",
                    r->slot, r->was.site);
}

/* -------------------------------------------------------------------------------- the mirror */

static enum rc join(struct rejoin *r, struct err *e)
{
    char own[PATH_MAX];
    const bool is_shared = strcmp(r->was.format_bucket, r->is.format_bucket) == 0;
    keep(own, sizeof(own),
         r->o->bucket       ? r->o->bucket
         : is_shared        ? ""
         : r->was.bucket[0] ? r->was.bucket
                            : r->was.format_bucket);
    const char *const words[] = {"join",
                                 "--primary",
                                 r->o->primary,
                                 "--name",
                                 r->was.site,
                                 r->url,
                                 own[0] ? "--bucket" : NULL,
                                 own[0] ? own : NULL,
                                 r->o->origin ? "--origin" : NULL,
                                 r->o->origin};
    char *copies[ARGUMENTS_MAX];
    int count = 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i])
            copies[count++] = strdup(words[i]);
    /* The fence stays until the new tables have their guard; the join itself writes behind it. */
    (void)setenv("PGOPTIONS", "-c default_transaction_read_only=off", 1);
    const int code = mirror_join(count, copies);
    for (int i = 0; i < count; i++)
        free(copies[i]);
    if (code == EXIT_DONE)
        return RC_OK;
    err_fail(e, RC_INVALID, "\"%s\" has not become a mirror yet; run this again", r->was.site);
    return err_exits(e, code);
}

static enum rc rejoin(struct rejoin *r, struct err *e)
{
    if (open_both(r, e))
        return e->code;
    const bool is_primary = strcmp(r->was.role, "primary") == 0;
    if (is_primary && (fence(r, e) || list(r, e)))
        return e->code;
    if (r->o->is_listing_only)
        return RC_OK;
    if (is_primary && mirror_do(r->old, "SELECT tarn_1.rejoin_give_up()", NULL, e))
        return err_note(e, "could not end the role of \"%s\"", r->was.site);
    pg_close(&r->old);
    pg_close(&r->fresh);
    return join(r, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct rejoin r = {.o = into, .url = arguments[0]};
    if (!r.o->primary)
        return err_fail(e, RC_INVALID, "option --primary is missing");
    enum rc rc = rejoin(&r, e);
    if (r.file && fclose(r.file) != 0 && !rc)
        rc = err_os(e, errno, "could not write \"%s\"", r.path);
    pg_close(&r.old);
    pg_close(&r.fresh);
    return rc;
}

int mirror_rejoin(int argc, char **argv)
{
    struct rejoin_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
