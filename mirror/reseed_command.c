/*
 * reseed: a person asks for a new copy. The agent makes it when it runs; else this command does.
 * Either way it shows how far the copy is, and ends when the new one serves.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/progress.h"
#include "mirror/mirror.h"
#include "mirror/reseed.h"
#include "mirror/reseed_impl.h"

#define LOOK_MS 500

struct reseed_options {
    const char *primary_password;
    bool keep_old, json;
};

static const struct conf_option options[] = {
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary, when the subscription is gone; give it by the environment",
     .offset = offsetof(struct reseed_options, primary_password)},
    {.name = "keep-old",
     .type = CONF_FLAG,
     .help = "keep the old copy, as another database, for you to drop",
     .offset = offsetof(struct reseed_options, keep_old)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON at the end",
     .offset = offsetof(struct reseed_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror reseed",
    .arguments = "MIRROR-URL",
    .summary = "copy a mirror anew beside the copy that serves, then switch",
    .details =
        "  tarn mirror reseed postgres://owner@db.tokyo/volume\n\n"
        "The copy that serves goes on being read, but follows no more. The new one is made in the\n"
        "database NAME_reseed of the same server, which must have room for both; when it is\n"
        "consistent the two exchange their names, and mounts come back to the new one. Blocks\n"
        "that are in the local bucket already are not copied again. The role must be allowed to\n"
        "create databases. Interrupted, it is gone on with by the same command or the agent.\n"
        "Exit codes: 0 the new copy serves, 3 unreachable, 4 denied, 5 no mirror there, 6 it has\n"
        "never been consistent.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

struct asked {
    const char *url;
    const struct reseed_options *o;
    struct pg *own;
    struct reseed *reseed;
    struct progress *bar;
    bool has_lock;
};

static enum rc begin(struct asked *a, struct err *e)
{
    auto_facts struct facts f = {0};
    if (mirror_reconnect(&a->own, a->url, NULL, e) || facts_read(a->own, &f, e))
        return e->code;
    if (!f.is_ready) {
        err_fail(e, RC_STALE, "mirror \"%s\" was never consistent: run tarn mirror join again",
                 f.name);
        return err_exits(e, EXIT_NOT_READY);
    }
    return reseed_want(a->own, "asked for by tarn mirror reseed", a->o->keep_old, e);
}

/* Names are exchanged under us: then we come back to the new copy. */
static enum rc come_back(struct asked *a, struct err *e)
{
    if (a->own && pg_is_open(a->own))
        return RC_OK;
    a->has_lock = false;
    return mirror_reconnect(&a->own, a->url, NULL, e);
}

static enum rc show(struct asked *a, bool *is_wanted, struct err *e)
{
    auto_reseed_row struct reseed_row row;
    if (reseed_read(a->own, &row, e))
        return e->code;
    *is_wanted = row.is_wanted;
    progress_set(a->bar, (uint64_t)row.bytes_done, (uint64_t)row.bytes_total);
    return RC_OK;
}

static enum rc look(struct asked *a, bool *is_wanted, struct err *e)
{
    auto_facts struct facts f = {0};
    enum reseed_at at;
    if (come_back(a, e) || (!a->has_lock && mirror_lock(a->own, &a->has_lock, e)) ||
        show(a, is_wanted, e))
        return e->code;
    if (!*is_wanted || !a->has_lock)
        return RC_OK;
    return facts_read(a->own, &f, e) ? e->code : reseed_step(a->reseed, &a->own, &f, &at, e);
}

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN || rc == RC_TIMEOUT || rc == RC_STALE ||
           rc == RC_NOT_FOUND;
}

static enum rc work(struct asked *a, struct err *e)
{
    for (bool is_wanted = true; is_wanted;) {
        struct err passing = ERR_INIT;
        enum rc rc = look(a, &is_wanted, &passing);
        if (rc && !is_passing(rc)) {
            *e = passing;
            return rc;
        }
        if (rc)
            log_err(LOG_LEVEL_WARN, &passing, "trying again");
        if (rc || is_wanted)
            clock_sleep_until(clock_deadline(LOOK_MS));
        is_wanted = is_wanted || rc;
    }
    return RC_OK;
}

static enum rc report(const struct asked *a, struct err *e)
{
    if (!a->o->json) {
        (void)printf("done     the new copy serves\n");
        return RC_OK;
    }
    auto_json struct json *d = json_object_new();
    if (!d)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_bool(d, "reseeded", true, e))
        return e->code;
    return json_print(d, stdout, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct asked a = {.url = arguments[0], .o = into};
    enum rc rc = reseed_open(&a.reseed, a.url, a.o->primary_password, e);
    if (!rc)
        rc = begin(&a, e);
    if (!rc) {
        a.bar = progress_open("new copy", 0, true);
        rc = work(&a, e);
        progress_close(&a.bar);
    }
    if (!rc)
        rc = report(&a, e);
    reseed_close(&a.reseed);
    pg_close(&a.own);
    return rc;
}

int mirror_reseed(int argc, char **argv)
{
    struct reseed_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
