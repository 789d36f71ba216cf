/*
 * destroy: the end of a volume. Objects go first, its identity last of them, then the tables: what
 * was interrupted can be run again.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/base/url.h"
#include "fs/meta/finding.h"
#include "fs/volume/volume.h"
#include "primary/primary.h"

#define UUID_KEY  "juicefs_uuid"
#define BATCH     4096
#define THREADS   16
#define REMOVE_MS 60000

struct destroy_options {
    bool yes, force, json;
};

static const struct conf_option options[] = {
    {.name = "yes",
     .letter = 'y',
     .type = CONF_FLAG,
     .help = "do not ask",
     .offset = offsetof(struct destroy_options, yes)},
    {.name = "force",
     .type = CONF_FLAG,
     .help = "do not ask, and do it although sessions, mirrors or an agent are there",
     .offset = offsetof(struct destroy_options, force)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct destroy_options, json)},
};

static const struct conf_command command = {
    .name = "tarn destroy",
    .arguments = "META-URL UUID",
    .summary = "remove a volume: all its objects, its tables, and what Tarn keeps beside them",
    .details = "This cannot be undone. Refused while sessions are active, mirrors are joined or\n"
               "tarn primary run is running, and always when UUID is not the volume's.\n\n"
               "Exit codes: 0 destroyed, 1 refused, aborted or failed, 3 unreachable, 4 denied,\n"
               "5 no volume there, 7 bucket missing or another volume's.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};

/* --------------------------------------------------------------------------------------- objects
 */

struct batch {
    struct store *store;
    struct buf keys; /* NUL-terminated, one after the other */
    const char *at[BATCH];
    size_t count;
    struct err visit; /* why a visit failed */
};

static bool on_object(const struct store_object *object, void *arg)
{
    struct batch *b = arg;
    if (strcmp(object->key, UUID_KEY) == 0)
        return true;
    b->count++;
    return buf_add(&b->keys, object->key, strlen(object->key) + 1, &b->visit) == RC_OK &&
           b->count < BATCH;
}

static enum rc remove_object(size_t i, void *arg, struct err *e)
{
    const struct batch *b = arg;
    return store_remove(b->store, b->at[i], clock_deadline(REMOVE_MS), e);
}

/* Remove the objects behind `after`, which moves on. */
static enum rc remove_batch(struct batch *b, char after[STORE_KEY_MAX], struct err *e)
{
    b->count = 0;
    b->visit = ERR_INIT;
    buf_clear(&b->keys);
    if (store_list(b->store, "", after, on_object, b, CLOCK_FOREVER_MS, e))
        return err_note(e, "could not list %s", b->store->label);
    if (b->visit.code) {
        *e = b->visit;
        return e->code;
    }
    const char *key = (const char *)b->keys.data;
    for (size_t i = 0; i < b->count; i++, key += strlen(key) + 1)
        b->at[i] = key;
    if (b->count)
        (void)snprintf(after, STORE_KEY_MAX, "%s", b->at[b->count - 1]);
    return parallel_run(b->count, THREADS, remove_object, b, e);
}

static enum rc remove_objects(struct store *store, uint64_t *removed, struct err *e)
{
    auto_free struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    b->store = store;
    buf_init(&b->keys, (size_t)BATCH * STORE_KEY_MAX);
    char after[STORE_KEY_MAX] = "";
    struct progress *progress = progress_open("deleting objects", 0, false);
    enum rc rc;
    do {
        rc = remove_batch(b, after, e);
        *removed += rc ? 0 : b->count;
        progress_set(progress, *removed, 0);
    } while (rc == RC_OK && b->count == BATCH);
    progress_close(&progress);
    buf_deinit(&b->keys);
    return rc ? rc : store_remove(store, UUID_KEY, clock_deadline(REMOVE_MS), e);
}

/* -------------------------------------------------------------------------------------- metadata
 */

static enum rc check_obstacle(struct pg *pg, const char *uuid, bool force, struct err *e)
{
    const struct pg_param params[] = {pg_text(uuid), pg_bool(force)};
    auto_result struct pg_result *r = NULL;
    if (pg_call(pg, "SELECT pg_temp.destroy_obstacle($1,$2)", params, 2,
                clock_deadline(PRIMARY_CALL_MS), &r, e))
        return e->code;
    if (pg_is_null(r, 0, 0))
        return RC_OK;
    err_fail(e, RC_INVALID, "nothing is destroyed: %s", pg_get_text(r, 0, 0));
    return err_exits(e, EXIT_FAILED);
}

static enum rc drop_all(struct pg *pg, const char *uuid, bool force, struct err *e)
{
    const struct pg_param params[] = {pg_text(uuid), pg_bool(force)};
    auto_result struct pg_result *r = NULL;
    if (pg_call(pg, "SELECT pg_temp.destroy_volume($1,$2)", params, 2,
                clock_deadline(PRIMARY_CALL_MS), &r, e))
        return err_note(e, "the objects are gone, but not the tables; run it again");
    return RC_OK;
}

/* --------------------------------------------------------------------------------------- command
 */

static bool is_confirmed(struct volume *volume)
{
    printf(" volume name: %s\n volume UUID: %s\ndata storage: %s\n", volume_name(volume),
           volume_uuid(volume), volume_origin(volume)->label);
    printf("All objects and all metadata of it will be gone for good. Proceed? [y/N] ");
    (void)fflush(stdout);
    char answer[16] = "";
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static enum rc report(const char *uuid, uint64_t removed, bool json, struct err *e)
{
    if (!json) {
        printf("Deleted %" PRIu64 " objects. The volume has been destroyed; cache directories of "
               "its clients may be deleted.\n",
               removed);
        return RC_OK;
    }
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_string(doc, "uuid", uuid, e) ||
        json_set_int(doc, "deleted_objects", (int64_t)removed, e))
        return e->code;
    return json_print(doc, stdout, e);
}

static enum rc destroy(struct volume *volume, struct pg *pg, const char *uuid,
                       const struct destroy_options *o, struct err *e)
{
    uint64_t removed = 0;
    if (findings_prepare(pg, clock_deadline(PRIMARY_CALL_MS), e) ||
        check_obstacle(pg, uuid, o->force, e))
        return e->code;
    if (!o->yes && !o->force && !is_confirmed(volume))
        return err_fail(e, RC_CANCELLED, "aborted; nothing is destroyed");
    if (remove_objects(volume_origin(volume), &removed, e) || drop_all(pg, uuid, o->force, e))
        return e->code;
    return report(uuid, removed, o->json, e);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct volume_options of_volume = {
        .meta = {.url = arguments[0], .application = "tarn-primary", .is_read_only = true},
        .checks_uuid = true};
    struct volume *volume = NULL;
    struct pg *pg = NULL;
    if (url_check(arguments[0], e) || volume_open(&volume, &of_volume, e))
        return e->code;
    enum rc rc = primary_connect(&pg, arguments[0], e);
    if (rc == RC_OK)
        rc = destroy(volume, pg, arguments[1], into, e);
    pg_close(&pg);
    volume_close(&volume);
    return rc;
}

int primary_destroy(int argc, char **argv)
{
    struct destroy_options o;
    return command_run(&command, &o, work, argc, argv);
}
