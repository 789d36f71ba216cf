/*
 * status: what a mirror knows about itself. Works while the primary is down; its word is asked for
 * briefly.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "mirror/audit_show.h"
#include "mirror/data_lag.h"
#include "mirror/facts.h"
#include "mirror/follow.h"
#include "mirror/heal_show.h"
#include "mirror/home.h"
#include "mirror/mirror.h"

#define RATE_MS 1000

struct status_options {
    bool json;
};

static const struct conf_option options[] = {
    {.name = "json",
     .type = CONF_FLAG,
     .help = "print JSON",
     .offset = offsetof(struct status_options, json)},
};

static const struct conf_command command = {
    .name = "tarn mirror status",
    .arguments = "MIRROR-URL",
    .summary = "show the state of a mirror and how far it is behind",
    .details = "Exit codes: 0 it may be mounted, 3 unreachable, 4 denied, 5 no mirror there,\n"
               "6 not consistent yet, or LOST.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* Before it is ready: how far the first copy is. Without the primary nobody knows of how much. */
static void look_at_copy(struct pg *own, struct pg *primary, const struct facts *f,
                         struct copy_sight *out)
{
    struct err ignored = ERR_INIT;
    struct copy_plan *plan = NULL;
    if (f->is_ready || copy_plan_make(&plan, primary, &ignored) ||
        copy_look(plan, own, out, &ignored))
        out->tables_total = 0;
    copy_plan_free(&plan);
}

static void ask_primary(struct pg *own, const struct facts *f, struct facts_primary *out,
                        struct copy_sight *copy)
{
    struct err ignored = ERR_INIT;
    struct pg *primary = NULL;
    struct home home = {NULL};
    *out = (struct facts_primary){.is_reached = false};
    if (!f->has_subscription || mirror_connect_primary(own, &primary, MIRROR_ASK_MS, &ignored))
        return;
    facts_ask_primary(primary, f->subscription, out);
    home_ask(&home, own, primary, f, out);
    look_at_copy(own, primary, f, copy);
    home_close(&home);
    pg_close(&primary);
}

/* A rate needs two looks; they are taken only where there is something to wait for. */
static enum rc read_data(struct pg *own, const struct facts *f, struct data_lag *out, struct err *e)
{
    *out = (struct data_lag){.is_known = false};
    if (!f->local_bucket)
        return RC_OK;
    if (data_lag_read(own, out, e) || !data_lag_is_behind(out))
        return e->code;
    clock_sleep_until(clock_deadline(RATE_MS));
    return data_lag_read(own, out, e);
}

static const char *or_none(const char *text)
{
    return text ? text : "-";
}

static void print_for_people(const struct facts *f, const struct facts_primary *p,
                             const struct data_lag *data, const struct copy_sight *copy)
{
    (void)printf("site     %s, mirror of %s\n", f->name, or_none(f->primary_url));
    if (f->source_url)
        (void)printf("source   %s\n", f->source_url);
    (void)printf("state    %s%s%s\n", f->state, f->detail ? ": " : "", f->detail ? f->detail : "");
    (void)printf("ready    %s\n", f->is_ready ? f->ready_at : "no, it cannot be mounted yet");
    (void)printf("tables   %d of %d copied\n", f->tables_ready, f->tables_total);
    if (copy->tables_total > 0)
        (void)printf("copy     %" PRIu64 " of about %" PRIu64 " rows, %.1f of %.1f MiB\n",
                     copy->rows_done, copy->rows_total, (double)copy->bytes_done / (1 << 20),
                     (double)copy->bytes_total / (1 << 20));
    (void)printf("lsn      received %s, applied %s\n", or_none(f->received_lsn),
                 or_none(f->applied_lsn));
    (void)printf("lag      %" PRId64 " bytes", facts_lag_bytes(f, p));
    if (facts_lag_transactions(f, p) >= 0)
        (void)printf(", %" PRId64 " transactions", facts_lag_transactions(f, p));
    if (f->has_heartbeat)
        (void)printf(", heartbeat %" PRId64 " is %.1f s old", f->seq,
                     (double)f->heartbeat_age_ms / 1000);
    (void)printf("\nworker   %s, %" PRId64 " errors so far\n", f->has_worker ? "at work" : "away",
                 f->errors);
    (void)printf("primary  %s%s\n",
                 p->is_reached ? "answers; its slot for us is " : "does not answer",
                 !p->is_reached ? ""
                 : p->has_slot  ? p->wal_status
                                : "gone");
    (void)printf("slices   %" PRId64 " waiting, %" PRId64 " of them failed before\n",
                 f->slices_waiting, f->slices_failing);
    data_lag_print(data);
}

static enum rc print_json(struct pg *own, const struct facts *f, const struct facts_primary *p,
                          const struct data_lag *data, const struct copy_sight *copy,
                          struct json **healing, struct err *e)
{
    auto_json struct json *document = NULL;
    if (facts_document(f, p, &document, e) || audit_add_last(own, document, e) ||
        data_lag_show(data, document, e) ||
        (copy->tables_total > 0 && copy_show(copy, document, e)) ||
        json_set(document, "healing", healing, e))
        return e->code;
    return json_print(document, stdout, e);
}

/* Whether it may be mounted and relied on is the exit code. */
static enum rc judge(const struct facts *f, struct err *e)
{
    enum mirror_state state = mirror_state_parse(f->state);
    bool is_lost = state == MIRROR_LOST || state == MIRROR_REJOINING;
    if (f->is_ready && !is_lost)
        return RC_OK;
    err_fail(e, RC_STALE,
             is_lost ? "mirror \"%s\" is LOST and must be copied anew"
                     : "mirror \"%s\" is not consistent yet",
             f->name);
    return err_exits(e, EXIT_NOT_READY);
}

static enum rc show(const struct status_options *o, struct pg *own, struct err *e)
{
    auto_facts struct facts f = {0};
    auto_json struct json *healing = NULL;
    struct facts_primary p;
    struct data_lag data;
    struct copy_sight copy = {0};
    if (facts_read(own, &f, e) || read_data(own, &f, &data, e) || heal_document(own, &healing, e))
        return e->code;
    ask_primary(own, &f, &p, &copy);
    if (!o->json) {
        print_for_people(&f, &p, &data, &copy);
        heal_print(healing);
    }
    if (o->json ? print_json(own, &f, &p, &data, &copy, &healing, e) : audit_show_last(own, e))
        return e->code;
    return judge(&f, e);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct pg *own = NULL;
    enum rc rc = mirror_connect(&own, arguments[0], NULL, MIRROR_CONNECT_MS, e);
    if (!rc)
        rc = show(into, own, e);
    pg_close(&own);
    return rc;
}

int mirror_status(int argc, char **argv)
{
    struct status_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
