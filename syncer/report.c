#include "syncer/report.h"

#include <inttypes.h>

#include "fs/base/json.h"
#include "fs/base/log.h"

#define FAILURES_SHOWN 1000

/* What a person wants to know first. */
static const char *state_of(const struct backlog *b)
{
    if (!b->has_begun)
        return "waiting for the initial copy of the metadata";
    if (b->failing > 0)
        return "failing";
    return b->copies + b->deletes > 0 || !b->backfill_done ? "copying" : "in step";
}

enum rc report_backlog_json(const struct backlog *b, struct buf *out, struct err *e)
{
    auto_json struct json *o = json_object_new();
    if (!o)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_string(o, "state", state_of(b), e) || json_set_int(o, "copies", b->copies, e) ||
        json_set_int(o, "deletes", b->deletes, e) || json_set_int(o, "leased", b->leased, e) ||
        json_set_int(o, "failing", b->failing, e) ||
        json_set_real(o, "oldest_seconds", b->oldest_s, e) ||
        json_set_bool(o, "has_begun", b->has_begun, e) ||
        json_set_bool(o, "backfill_done", b->backfill_done, e) ||
        json_set_int(o, "backfill_position", b->backfill_position, e) ||
        json_set_int(o, "backfill_goal", b->backfill_goal, e) ||
        json_set_string(o, "last_error", b->last_error, e))
        return e->code;
    return json_write(o, JSON_INDENT, out, e);
}

void report_backlog_text(const struct backlog *b, FILE *to)
{
    fprintf(to, "state      %s\n", state_of(b));
    fprintf(to, "to copy    %" PRId64 " slices\n", b->copies);
    fprintf(to, "to delete  %" PRId64 " slices\n", b->deletes);
    fprintf(to, "leased     %" PRId64 "\n", b->leased);
    fprintf(to, "failing    %" PRId64 "%s%s\n", b->failing, b->last_error[0] ? ", such as: " : "",
            b->last_error);
    fprintf(to, "oldest     %.1f s\n", b->oldest_s);
    if (b->has_begun && !b->backfill_done)
        fprintf(to, "history    slice %" PRId64 " of %" PRId64 "\n", b->backfill_position,
                b->backfill_goal);
}

static void print_failure(uint64_t slice, const char *want, int attempts, const char *error,
                          void *arg)
{
    fprintf(arg, "slice %" PRIu64 "  %s  %d tries  %s\n", slice, want, attempts, error);
}

void report_failures(struct queue *queue, FILE *to)
{
    struct err e = ERR_INIT;
    if (queue_failures(queue, FAILURES_SHOWN, print_failure, to, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not list the failures");
}
