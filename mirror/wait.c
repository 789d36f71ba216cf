/*
 * wait: for pipelines. Trained at the primary → wait → roll out at the mirror.
 */
#include "mirror/wait.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/mirror.h"

#define LOOK_MS  50
#define TRY_MS   500 /* between two tries of what failed */
#define FACTS_MS 1000

static const struct conf_option options[] = {
    {.name = "until-now",
     .type = CONF_FLAG,
     .help = "until all is seen here that is committed at the primary when the wait begins",
     .offset = offsetof(struct wait_options, until_now)},
    {.name = "marker",
     .type = CONF_STRING,
     .help = "until this marker is seen, as tarn primary mark printed it: NAME or NAME:VALUE",
     .offset = offsetof(struct wait_options, marker)},
    {.name = "path",
     .type = CONF_STRING,
     .help =
         "until this path of the volume is here as it is at the primary now, or (with --marker) "
         "as it was then",
     .offset = offsetof(struct wait_options, path)},
    {.name = "data",
     .type = CONF_FLAG,
     .help = "and until every block of the path, or of everything, is in this site's bucket",
     .offset = offsetof(struct wait_options, data)},
    {.name = "timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .min = 1,
     .max = (int64_t)365 * 86400000,
     .help = "give up after so long; without it the wait has no end",
     .offset = offsetof(struct wait_options, timeout_ms)},
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the primary, instead of what the mirror knows",
     .offset = offsetof(struct wait_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary; give it by the environment",
     .offset = offsetof(struct wait_options, primary_password)},
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct wait_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror wait",
    .arguments = "MIRROR-URL",
    .summary = "wait until a mirror shows what the primary has, and has its blocks",
    .details =
        "  tarn mirror wait --path /models/v7 --data --timeout 10m postgres://ro@db.tokyo/volume\n\n"
        "or, where only the trainer reaches the primary,\n\n"
        "  M=$(tarn primary mark v7 postgres://rw@db.paris/volume)\n"
        "  tarn mirror wait --marker $M --data postgres://ro@db.tokyo/volume\n\n"
        "Waits through restarts and cuts. A mount may show a name up to a second later, as long\n"
        "as its kernel keeps what it knew.\n"
        "Exit codes: 0 it is here, 1 the path does not exist, 2 wrong use, 3 the mirror is\n"
        "unreachable at the start, 4 denied, 5 no mirror there, 6 the mirror is LOST or has left,\n"
        "or the marker went with a primary that was replaced, 10 the time is over.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* ---------------------------------------------------------------------------------------- marker
 */

/* "NAME" or "NAME:VALUE" as tarn primary mark prints it. */
static enum rc parse_marker(struct wait *w, struct err *e)
{
    const char *text = w->o->marker, *colon = strchr(text, ':');
    char *end = "";
    errno = 0;
    w->value = colon ? strtoll(colon + 1, &end, 10) : 1;
    if (!text[0] || colon == text || errno || *end || w->value < 1)
        return err_fail(e, RC_INVALID, "option --marker must be NAME or NAME:VALUE");
    int size = snprintf(w->marker, sizeof(w->marker), "wait/%.*s",
                        (int)(colon ? (size_t)(colon - text) : strlen(text)), text);
    return size < WAIT_NAME_MAX ? RC_OK : err_fail(e, RC_INVALID, "the marker's name is too long");
}

static enum rc begin(struct wait *w, struct err *e)
{
    const struct wait_options *o = w->o;
    if (!o->until_now && !o->marker && !o->path)
        return err_fail(e, RC_INVALID, "one of --until-now, --marker and --path is missing");
    if (o->until_now && o->marker)
        return err_fail(e, RC_INVALID, "--until-now and --marker exclude each other");
    w->begun_ms = clock_ms();
    w->epoch = -1;
    w->deadline_ms = o->timeout_ms ? clock_deadline((uint64_t)o->timeout_ms) : UINT64_MAX;
    w->step = o->marker ? WAIT_ARRIVE : WAIT_MAKE;
    return o->marker ? parse_marker(w, e) : RC_OK;
}

static uint64_t time_for(const struct wait *w, uint64_t usual_ms)
{
    uint64_t left = (uint64_t)clock_left(w->deadline_ms);
    return left < usual_ms ? left : usual_ms;
}

/* One counter for each site is enough: whoever waits for a value is served by a higher one. */
static enum rc make_marker(struct wait *w, struct err *e)
{
    (void)snprintf(w->marker, sizeof(w->marker), "wait/%s", w->site);
    if (w->primary && !pg_is_open(w->primary))
        pg_close(&w->primary);
    if (!w->primary && mirror_connect_home(w->own, w->o->primary, w->o->primary_password,
                                           time_for(w, MIRROR_CONNECT_MS), &w->primary, e))
        return e->code;
    if (mark_write(w->primary, w->marker, &w->value, &w->epoch, e))
        return err_note(e, "primary");
    pg_close(&w->primary);
    w->step = WAIT_ARRIVE;
    return RC_OK;
}

/* A marker that was made in an epoch that is over, and is not here, will not come any more. */
static bool is_lost_marker(const struct wait *w, int64_t value, int64_t epoch)
{
    return w->epoch >= 0 && epoch > w->epoch && value < w->value;
}

static enum rc look_for_marker(struct wait *w, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param params[] = {pg_text(w->marker), pg_int8(w->value)};
    if (pg_call(w->own, "SELECT * FROM tarn_1.wait_marker($1,$2)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not look for the marker");
    int64_t value = pg_get_int8(row, 0, pg_column(row, "value"));
    if (is_lost_marker(w, value, pg_get_int8(row, 0, pg_column(row, "epoch")))) {
        err_fail(e, RC_INVALID, "the primary that made marker \"%s\" has been replaced", w->marker);
        return err_exits(e, EXIT_NOT_READY);
    }
    if (value < w->value)
        return RC_OK;
    (void)snprintf(w->until, sizeof(w->until), "%s",
                   pg_get_text(row, 0, pg_column(row, "orders_until")));
    w->step = w->o->path ? WAIT_FIND : w->o->data ? WAIT_DATA : WAIT_OVER;
    return RC_OK;
}

/* ------------------------------------------------------------------------------------------ steps
 */

/* A mirror that is still joining is waited for; one that is LOST shows what it had. */
static enum rc check_mirror(const struct wait *w, const struct facts *f, struct err *e)
{
    enum mirror_state state = mirror_state_parse(f->state);
    if (state == MIRROR_LOST || state == MIRROR_LEFT) {
        err_fail(e, RC_INVALID, "mirror \"%s\" is %s%s%s", f->name, f->state, f->detail ? ": " : "",
                 f->detail ? f->detail : "");
        return err_exits(e, EXIT_NOT_READY);
    }
    if (w->o->data && !f->local_bucket)
        return err_fail(e, RC_INVALID,
                        "mirror \"%s\" has no bucket of its own: warm its caches with tarn warmup",
                        f->name);
    return f->is_ready
               ? RC_OK
               : err_fail(e, RC_UNAVAILABLE, "mirror \"%s\" is not consistent yet", f->name);
}

/* What is known of the mirror is looked at now and then, and when all seems to be here. */
static enum rc know_mirror(struct wait *w, bool at_once, struct err *e)
{
    auto_facts struct facts f = {0};
    if (!at_once && clock_ms() < w->facts_due_ms)
        return RC_OK;
    if (facts_read(w->own, &f, e) || check_mirror(w, &f, e))
        return e->code;
    (void)snprintf(w->site, sizeof(w->site), "%s", f.name);
    w->facts_due_ms = clock_deadline(FACTS_MS);
    return RC_OK;
}

static enum rc look_for_data(struct wait *w, struct err *e)
{
    bool is_here = false;
    if (!w->bar)
        w->bar = progress_open("blocks", 0, true);
    if (wait_look(w, &is_here, e))
        return e->code;
    if (is_here)
        w->step = WAIT_OVER;
    return RC_OK;
}

static enum rc take_step(struct wait *w, struct err *e)
{
    w->look_ms = LOOK_MS;
    switch (w->step) {
    case WAIT_MAKE:
        return make_marker(w, e);
    case WAIT_ARRIVE:
        return look_for_marker(w, e);
    case WAIT_FIND:
        if (wait_find(w, e))
            return e->code;
        w->step = w->o->data ? WAIT_DATA : WAIT_OVER;
        return RC_OK;
    case WAIT_DATA:
        return look_for_data(w, e);
    case WAIT_OVER:
        break;
    }
    return RC_OK;
}

static enum rc look(struct wait *w, struct err *e)
{
    if (!w->own || !pg_is_open(w->own)) {
        pg_close(&w->own);
        if (mirror_connect(&w->own, w->url, NULL, time_for(w, MIRROR_CONNECT_MS), e))
            return err_note(e, "mirror");
    }
    enum wait_step before = w->step;
    if (know_mirror(w, false, e) || take_step(w, e))
        return e->code;
    if (w->step != WAIT_OVER || know_mirror(w, true, e) == RC_OK)
        return RC_OK;
    w->step = before;
    return e->code;
}

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_UNCERTAIN || rc == RC_TIMEOUT || rc == RC_STALE;
}

/* What was missing when the time was over; hindrance: the last failure, or nothing. */
static enum rc time_is_over(const struct wait *w, const struct err *hindrance, struct err *e)
{
    if (hindrance->code)
        err_fail(e, RC_TIMEOUT, "the time is over: %s", hindrance->text);
    else if (w->step == WAIT_ARRIVE)
        err_fail(e, RC_TIMEOUT, "the time is over: marker \"%s\" %" PRId64 " is not here yet",
                 w->marker, w->value);
    else
        err_fail(e, RC_TIMEOUT,
                 "the time is over: %" PRIu64 " slices, %" PRIu64 " bytes%s are not here yet%s%s",
                 w->left.slices, w->left.bytes,
                 w->left.is_history_here ? "" : ", and more of history",
                 w->left.failing ? ": " : "", w->left.last_error);
    return err_exits(e, EXIT_TIMEOUT);
}

static enum rc wait_until_here(struct wait *w, struct err *e)
{
    bool has_begun = false; /* a wrong URL is the caller's to know at once */
    while (w->step != WAIT_OVER) {
        struct err hindrance = ERR_INIT;
        enum wait_step before = w->step;
        if (look(w, &hindrance) && (!is_passing(hindrance.code) || (!has_begun && !w->own))) {
            *e = hindrance;
            return e->code;
        }
        has_begun = true;
        if (w->step == before && clock_left(w->deadline_ms) == 0)
            return time_is_over(w, &hindrance, e);
        if (w->step == before)
            clock_sleep_until(clock_deadline(time_for(w, hindrance.code ? TRY_MS : w->look_ms)));
    }
    return RC_OK;
}

/* --------------------------------------------------------------------------------------- the end
 */

static enum rc add_data(const struct wait *w, struct json *document, struct err *e)
{
    auto_json struct json *data = json_object_new();
    if (!data)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_int(data, "slices_waiting", (int64_t)w->left.slices, e) ||
        json_set_int(data, "bytes_waiting", (int64_t)w->left.bytes, e) ||
        json_set_int(data, "bytes_waited_for", (int64_t)w->bytes_first, e) ||
        json_set_int(data, "failing", w->left.failing, e))
        return e->code;
    return json_set(document, "data", &data, e);
}

static enum rc show_json(const struct wait *w, const struct err *why, struct err *e)
{
    auto_json struct json *document = json_object_new();
    if (!document)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_bool(document, "arrived", w->step == WAIT_OVER, e) ||
        json_set_string(document, "marker", w->marker, e) ||
        json_set_int(document, "value", w->value, e) ||
        json_set_real(document, "waited_seconds", (double)(clock_ms() - w->begun_ms) / 1000, e) ||
        (w->o->path && json_set_string(document, "path", w->o->path, e)) ||
        (why->code && json_set_string(document, "reason", why->text, e)) ||
        (w->o->data && add_data(w, document, e)))
        return e->code;
    return json_print(document, stdout, e);
}

static void show_text(const struct wait *w)
{
    (void)printf("here     marker \"%s\" %" PRId64 "%s%s%s, after %.1f s\n", w->marker, w->value,
                 w->o->path ? ", path " : "", w->o->path ? w->o->path : "",
                 w->o->data ? ", with all its blocks" : "",
                 (double)(clock_ms() - w->begun_ms) / 1000);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct wait_options *o = into;
    struct wait w = {.o = o, .url = arguments[0]};
    struct err shown = ERR_INIT;
    if (begin(&w, e))
        return e->code;
    enum rc rc = wait_until_here(&w, e);
    progress_close(&w.bar);
    if (o->json && show_json(&w, e, &shown) && !rc)
        *e = shown;
    else if (!o->json && !rc)
        show_text(&w);
    free(w.slices);
    pg_close(&w.primary);
    pg_close(&w.own);
    return rc ? rc : e->code;
}

int mirror_wait(int argc, char **argv)
{
    struct wait_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
