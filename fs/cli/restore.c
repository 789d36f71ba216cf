/*
 * tarn restore: the trash of an hour, back into trees and back to where it was.
 *
 * An entry of the trash is called "<parent>-<inode>-<name>". A directory that was removed lies in
 * the trash empty, beside what had been in it; putting every entry into its parent rebuilds the
 * tree, in the trash or in its old place.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/array.h"
#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/base/url.h"
#include "fs/cli/verbs.h"
#include "fs/meta/namespace.h"

#define PAGE             1000
#define REFRESH_EVERY_MS 10000
#define RENAME_RESTORE   (1 | 32) /* never replace; the target may itself lie in the trash */

struct restore_command {
    bool puts_back, json;
    int64_t threads;
};

static const struct conf_option options[] = {
    {.name = "put-back",
     .type = CONF_FLAG,
     .offset = offsetof(struct restore_command, puts_back),
     .help = "move everything to the directory where it was"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "10",
     .min = 1,
     .max = 64,
     .offset = offsetof(struct restore_command, threads),
     .help = "threads that move entries"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct restore_command, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn restore",
    .arguments = "META-URL HOUR...",
    .summary = "Rebuild the trees of files in the trash, and put them back.",
    .details =
        "HOUR is a directory of the trash, in UTC, as \"2026-11-22-10\". Without --put-back\n"
        "entries whose directory lies in the trash of the same hour are moved into it, and the\n"
        "rest stays. Nothing is ever replaced: what has its name taken stays in the trash and\n"
        "counts as a conflict. For root alone.\n"
        "\n"
        "Exit codes: 0 all moved, 1 conflicts or failures, 2 wrong command line, 3 PostgreSQL\n"
        "unreachable, 4 not root or wrong password, 5 no volume in the database.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = -1,
};

struct restored {
    atomic_uint_fast64_t moved, left, conflicts, failed;
};

struct restoring {
    struct meta *meta;
    const struct restore_command *options;
    struct restored *totals;
    struct progress *progress;
    ino_num hour;
    ino_num *dirs; /* directories in this hour, ascending; unless things are put back */
    size_t dir_count, dir_room;
    struct dir_entry *page;
    uint64_t refresh_at_ms;
};

/* ------------------------------------------------------------------------------------- one entry
 */

/* The parent and the name that an entry tells of. */
static bool parse_name(const struct dir_entry *entry, ino_num *parent, struct bytes *name)
{
    char text[META_NAME_MAX + 1];
    memcpy(text, entry->name, entry->name_size);
    text[entry->name_size] = 0;
    char *dash, *end;
    errno = 0;
    *parent = strtoull(text, &dash, 10);
    if (errno || dash == text || *dash != '-')
        return false;
    (void)strtoull(dash + 1, &end, 10);
    if (errno || end == dash + 1 || *end != '-')
        return false;
    const size_t at = (size_t)(end + 1 - text);
    *name = (struct bytes){entry->name + at, entry->name_size - at};
    return name->size > 0;
}

static int compare_inos(const void *a, const void *b)
{
    const ino_num x = *(const ino_num *)a, y = *(const ino_num *)b;
    return (x > y) - (x < y);
}

static bool is_in_hour(const struct restoring *r, ino_num dir)
{
    return r->dir_count && bsearch(&dir, r->dirs, r->dir_count, sizeof(dir), compare_inos);
}

static void complain(const struct dir_entry *entry, const char *why)
{
    log_warn("\"%.*s\" stays in the trash: %s", (int)entry->name_size, (const char *)entry->name,
             why);
}

/* Only what concerns every entry is a failure of the whole. */
static enum rc move_entry(struct restoring *r, const struct dir_entry *entry, ino_num parent,
                          struct bytes name, struct err *e)
{
    const struct bytes old = {entry->name, entry->name_size};
    struct node_attr ignored;
    enum rc rc =
        meta_rename(r->meta, r->hour, old, parent, name, RENAME_RESTORE, NULL, 0, 0, &ignored, e);
    if (rc == RC_OK) {
        atomic_fetch_add(&r->totals->moved, 1);
        return RC_OK;
    }
    if (rc != RC_REFUSED)
        return rc;
    atomic_fetch_add(e->posix == EEXIST ? &r->totals->conflicts : &r->totals->failed, 1);
    complain(entry, e->text);
    *e = ERR_INIT;
    return RC_OK;
}

static enum rc restore_entry(size_t i, void *arg, struct err *e)
{
    struct restoring *r = arg;
    const struct dir_entry *entry = &r->page[i];
    ino_num parent;
    struct bytes name;
    progress_add(r->progress, 1);
    if (!parse_name(entry, &parent, &name)) {
        complain(entry, "its name does not say where it was");
        atomic_fetch_add(&r->totals->failed, 1);
        return RC_OK;
    }
    if (!r->options->puts_back && !is_in_hour(r, parent)) {
        atomic_fetch_add(&r->totals->left, 1);
        return RC_OK;
    }
    return move_entry(r, entry, parent, name, e);
}

/* -------------------------------------------------------------------------------------- one hour
 */

/* The session must not end while we work. */
static enum rc stay_alive(struct restoring *r, struct err *e)
{
    struct meta_vitals vitals;
    if (clock_left(r->refresh_at_ms) > 0)
        return RC_OK;
    r->refresh_at_ms = clock_deadline(REFRESH_EVERY_MS);
    return meta_refresh(r->meta, &vitals, e);
}

/* Read the hour page by page behind the last name, so that entries may leave meanwhile. */
static enum rc each_page(struct restoring *r,
                         enum rc (*work)(struct restoring *, uint32_t, struct err *), struct err *e)
{
    uint8_t after[META_NAME_MAX];
    struct bytes last = {after, 0};
    for (uint32_t count = PAGE; count == PAGE;) {
        if (meta_readdir(r->meta, r->hour, last, false, r->page, &count, e) || stay_alive(r, e))
            return e->code;
        if (count == 0)
            break;
        last.size = r->page[count - 1].name_size;
        memcpy(after, r->page[count - 1].name, last.size);
        if (work(r, count, e))
            return e->code;
    }
    return RC_OK;
}

static enum rc note_dirs(struct restoring *r, uint32_t count, struct err *e)
{
    for (uint32_t i = 0; i < count; i++) {
        if (r->page[i].attr.type != NODE_DIRECTORY)
            continue;
        if (array_reserve(&r->dirs, &r->dir_room, r->dir_count + 1, sizeof(*r->dirs), e))
            return e->code;
        r->dirs[r->dir_count++] = r->page[i].attr.ino;
    }
    return RC_OK;
}

static enum rc restore_page(struct restoring *r, uint32_t count, struct err *e)
{
    return parallel_run(count, (unsigned)r->options->threads, restore_entry, r, e);
}

static enum rc restore_hour(struct restoring *r, const char *hour, struct err *e)
{
    struct node_attr attr;
    const struct bytes name = {(const uint8_t *)hour, strlen(hour)};
    if (meta_lookup(r->meta, META_TRASH, name, &attr, e))
        return err_note(e, "no hour \"%s\" in the trash", hour);
    r->hour = attr.ino;
    r->dir_count = 0;
    if (!r->options->puts_back && each_page(r, note_dirs, e))
        return err_note(e, "could not list \"%s\"", hour);
    if (r->dir_count)
        qsort(r->dirs, r->dir_count, sizeof(*r->dirs), compare_inos);
    if (each_page(r, restore_page, e))
        return err_note(e, "could not restore \"%s\"", hour);
    return RC_OK;
}

/* --------------------------------------------------------------------------------------- command
 */

static enum rc report(const struct restored *t, const struct restore_command *o, struct err *e)
{
    if (o->json) {
        auto_json struct json *doc = json_object_new();
        if (!doc)
            return err_fail(e, RC_NO_SPACE, "could not allocate a document");
        if (json_set_int(doc, o->puts_back ? "restored" : "rebuilt", (int64_t)t->moved, e) ||
            json_set_int(doc, "need_put_back", (int64_t)t->left, e) ||
            json_set_int(doc, "conflicts", (int64_t)t->conflicts, e) ||
            json_set_int(doc, "failed", (int64_t)t->failed, e) || json_print(doc, stdout, e))
            return e->code;
    } else {
        printf("%s: %" PRIuFAST64 ", need-put-back: %" PRIuFAST64 ", conflicts: %" PRIuFAST64
               ", failed: %" PRIuFAST64 "\n",
               o->puts_back ? "restored" : "rebuilt", t->moved, t->left, t->conflicts, t->failed);
    }
    if (t->conflicts + t->failed == 0)
        return RC_OK;
    err_fail(e, RC_EXISTS, "%" PRIuFAST64 " entries stay in the trash", t->conflicts + t->failed);
    return err_exits(e, EXIT_FAILED);
}

static enum rc restore_all(struct meta *meta, const char *const *hours,
                           const struct restore_command *o, struct restored *totals, struct err *e)
{
    struct restoring r = {.meta = meta,
                          .options = o,
                          .totals = totals,
                          .refresh_at_ms = clock_deadline(REFRESH_EVERY_MS)};
    r.page = calloc(PAGE, sizeof(*r.page));
    if (!r.page)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    r.progress = progress_open("restoring", 0, false);
    enum rc rc = RC_OK;
    for (; *hours && rc == RC_OK; hours++)
        rc = restore_hour(&r, *hours, e);
    progress_close(&r.progress);
    free(r.page);
    free(r.dirs);
    return rc;
}

static enum rc run(const char *const *arguments, const struct restore_command *o, struct err *e)
{
    const struct meta_options of_meta = {
        .url = arguments[0], .application = "tarn restore", .max_conns = (unsigned)o->threads};
    struct restored totals = {0};
    struct meta *meta = NULL;
    if (meta_open(&meta, &of_meta, e))
        return e->code;
    enum rc rc = meta_session_begin(meta, "restore", e);
    if (rc == RC_OK)
        rc = restore_all(meta, arguments + 1, o, &totals, e);
    if (rc == RC_OK)
        rc = report(&totals, o, e);
    meta_close(&meta);
    return rc;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (geteuid() != 0)
        return err_fail(e, RC_DENIED, "only root can restore files from the trash");
    return url_check(arguments[0], e) ? e->code : run(arguments, into, e);
}

int command_restore(int argc, char **argv)
{
    struct restore_command o;
    return command_run(&command, &o, work, argc, argv);
}
