/*
 * status: one look at a primary, for a person or as JSON.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "primary/primary.h"

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
    .name = "tarn primary status",
    .arguments = "META-URL",
    .summary = "show the primary, its mirrors and their lag",
    .details = "Exit codes: 0 shown, 3 unreachable, 4 denied, 5 not adopted, 6 not a primary.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc ask(const char *url, struct json **out, struct err *e)
{
    struct pg *pg = NULL;
    auto_result struct pg_result *row = NULL;
    enum rc rc = primary_connect(&pg, url, e);
    if (!rc) {
        rc = pg_call(pg, "SELECT * FROM tarn_1.primary_status()", NULL, 0,
                     clock_deadline(PRIMARY_CALL_MS), &row, e);
        if (rc == RC_NOT_FOUND || (!rc && pg_rows(row) == 0))
            rc = primary_not_adopted(e);
    }
    if (!rc)
        rc = json_parse(pg_get_bytes(row, 0, 0), out, e);
    pg_close(&pg);
    return rc;
}

static void print_slot(const struct json *slot)
{
    const char *given_up = json_get_string(slot, "given_up_at", NULL);
    int64_t limit = json_get_int(slot, "limit_bytes", 0),
            days = json_get_int(slot, "trash_days", 0);
    (void)printf("mirror   %-16s %s, %s, %" PRId64 " bytes behind",
                 json_get_string(slot, "site", "?"),
                 json_get_bool(slot, "active", false) ? "connected" : "away",
                 json_get_string(slot, "wal_status", "lost"), json_get_int(slot, "lag_bytes", 0));
    if (!json_get_bool(slot, "active", false))
        (void)printf(", silent for %" PRId64 " s", json_get_int(slot, "silent_seconds", 0));
    if (limit)
        (void)printf("\n         %" PRId64 " of %" PRId64 " bytes of WAL until it is lost",
                     json_get_int(slot, "safe_bytes", 0), limit);
    if (days)
        (void)printf("\n         %" PRId64
                     " hours until stock clients remove what it may still read",
                     json_get_int(slot, "deletion_margin_seconds", 0) / 3600);
    if (given_up)
        (void)printf("\n         GIVEN UP since %s: objects that it may read are deleted",
                     given_up);
    (void)printf("\n");
}

static void print_advice(const struct json *status)
{
    if (strcmp(json_get_string(status, "max_slot_wal_keep_size", ""), "-1") == 0)
        (void)printf(
            "advice   max_slot_wal_keep_size is unlimited: a mirror that stays away fills this "
            "disk\n         ALTER SYSTEM SET max_slot_wal_keep_size = '64GB'; SELECT "
            "pg_reload_conf();\n");
}

static void print_for_people(const struct json *status)
{
    const struct json *volume = json_get(status, "volume");
    const struct json *heartbeat = json_get(status, "heartbeat");
    const struct json *slots = json_get(status, "slots");
    (void)printf("site     %s, %s, epoch %" PRId64 "\n", json_get_string(status, "site", "?"),
                 json_get_string(status, "role", "?"), json_get_int(status, "epoch", 0));
    (void)printf("volume   %s, UUID %s\n", json_get_string(volume, "name", "?"),
                 json_get_string(volume, "uuid", "?"));
    (void)printf("agent    %s, heartbeat %" PRId64 "\n",
                 json_get_bool(status, "agent_running", false) ? "running" : "NOT running",
                 json_get_int(heartbeat, "seq", 0));
    for (size_t i = 0; i < json_length(slots); i++)
        print_slot(json_at(slots, i));
    if (json_length(slots) == 0)
        (void)printf("mirror   none\n");
    else
        print_advice(status);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct status_options *o = into;
    auto_json struct json *status = NULL;
    if (ask(arguments[0], &status, e))
        return e->code;
    if (!o->json)
        print_for_people(status);
    else if (json_print(status, stdout, e))
        return e->code;
    if (strcmp(json_get_string(status, "role", ""), "primary") == 0)
        return RC_OK;
    err_fail(e, RC_INVALID, "this database is a mirror");
    return err_exits(e, EXIT_NOT_READY);
}

int primary_status(int argc, char **argv)
{
    struct status_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
