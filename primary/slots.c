/*
 *   wal_status   what it means                                      in the log
 *   reserved     the WAL that the mirror needs is kept              info
 *   extended     more than max_wal_size is kept for it              warn
 *   unreserved   the next checkpoint may remove what it needs       error
 *   lost         the mirror must be seeded again                    error
 */
#include "primary/slots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "primary/lag.h"
#include "primary/primary.h"

#define SLOTS_MAX      64
#define SLOT_NAME_MAX  64
#define SLOT_LABEL_MAX (SLOT_NAME_MAX + 16)

struct slot {
    char name[SLOT_NAME_MAX];
    char wal_status[16];
    bool is_active;
    bool was_seen;
    struct lag lag;
    uint64_t lag_ms; /* as of the last look */
    char labels[SLOT_LABEL_MAX];
    struct metric lag_bytes, lag_seconds, active;
};

struct slots {
    struct slot *slot[SLOTS_MAX];
    size_t count;
};

/* What one look saw. */
struct sight {
    const char *name, *wal_status, *site;
    bool is_active;
    int64_t lag_bytes;
    uint64_t lag_ms;
};

enum rc slots_open(struct slots **out, struct err *e)
{
    *out = calloc(1, sizeof(**out));
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

static void forget(struct slot *slot)
{
    metric_unregister(&slot->lag_bytes);
    metric_unregister(&slot->lag_seconds);
    metric_unregister(&slot->active);
    free(slot);
}

void slots_close(struct slots **slots)
{
    if (!*slots)
        return;
    for (size_t i = 0; i < (*slots)->count; i++)
        forget((*slots)->slot[i]);
    free(*slots);
    *slots = NULL;
}

static void register_gauge(struct slot *slot, struct metric *m, const char *name, const char *help)
{
    m->name = name;
    m->labels = slot->labels;
    m->help = help;
    m->type = METRIC_GAUGE;
    metric_register(m);
}

static struct slot *remember(struct slots *slots, const char *name)
{
    struct slot *slot = slots->count < SLOTS_MAX ? calloc(1, sizeof(*slot)) : NULL;
    if (!slot)
        return NULL;
    (void)snprintf(slot->name, sizeof(slot->name), "%s", name);
    (void)snprintf(slot->labels, sizeof(slot->labels), "slot=\"%s\"", slot->name);
    lag_init(&slot->lag, clock_ms());
    register_gauge(slot, &slot->lag_bytes, "tarn_slot_lag_bytes",
                   "WAL that a mirror has not confirmed");
    register_gauge(slot, &slot->lag_seconds, "tarn_slot_lag_seconds",
                   "Age of the newest commit that a mirror has confirmed");
    register_gauge(slot, &slot->active, "tarn_slot_active", "1 while a mirror reads from its slot");
    slots->slot[slots->count++] = slot;
    return slot;
}

static struct slot *find(struct slots *slots, const char *name)
{
    for (size_t i = 0; i < slots->count; i++)
        if (strcmp(slots->slot[i]->name, name) == 0)
            return slots->slot[i];
    return remember(slots, name);
}

static enum log_level level_of(const char *wal_status)
{
    if (strcmp(wal_status, "reserved") == 0)
        return LOG_LEVEL_INFO;
    return strcmp(wal_status, "extended") == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR;
}

/* Say what is new, once. */
static void tell(struct slot *slot, const struct sight *now)
{
    bool is_new = slot->wal_status[0] == '\0';
    if (strcmp(slot->wal_status, now->wal_status) != 0)
        log_write(level_of(now->wal_status),
                  "slot %s is %s: %" PRId64 " bytes of WAL are kept for mirror \"%s\"", slot->name,
                  now->wal_status, now->lag_bytes, now->site);
    if (is_new || slot->is_active != now->is_active)
        log_write(now->is_active ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "mirror \"%s\" is %s",
                  now->site, now->is_active ? "connected" : "away");
    (void)snprintf(slot->wal_status, sizeof(slot->wal_status), "%s", now->wal_status);
    slot->is_active = now->is_active;
}

static void count(struct slot *slot, const struct sight *now)
{
    slot->lag_ms = now->lag_ms;
    metric_set(&slot->lag_bytes, now->lag_bytes);
    metric_set(&slot->lag_seconds, (int64_t)(now->lag_ms / 1000));
    metric_set(&slot->active, now->is_active);
}

static enum rc show(const struct sight *now, struct json *list, struct err *e)
{
    auto_json struct json *item = json_object_new();
    if (!item)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(item, "slot", now->name, e) ||
        json_set_string(item, "site", now->site, e) ||
        json_set_bool(item, "active", now->is_active, e) ||
        json_set_string(item, "wal_status", now->wal_status, e) ||
        json_set_int(item, "lag_bytes", now->lag_bytes, e) ||
        json_set_real(item, "lag_seconds", (double)now->lag_ms / 1000, e))
        return e->code;
    return json_append(list, &item, e);
}

static enum rc look_at(struct slots *slots, const struct pg_result *rows, int i, struct json *list,
                       struct err *e)
{
    struct sight now = {
        .name = pg_get_text(rows, i, pg_column(rows, "slot")),
        .site = pg_get_text(rows, i, pg_column(rows, "site")),
        .wal_status = pg_get_text(rows, i, pg_column(rows, "wal_status")),
        .is_active = pg_get_bool(rows, i, pg_column(rows, "active")),
        .lag_bytes = pg_get_int8(rows, i, pg_column(rows, "lag_bytes")),
    };
    const char *current = pg_get_text(rows, i, pg_column(rows, "current_lsn"));
    const char *confirmed = pg_get_text(rows, i, pg_column(rows, "confirmed_lsn"));
    if (!now.wal_status)
        now.wal_status = "lost";
    struct slot *slot = find(slots, now.name);
    if (!slot)
        return err_fail(e, RC_NO_SPACE, "more than %d mirrors", SLOTS_MAX);
    uint64_t at = 0, by = 0;
    if (current && confirmed && lag_parse_lsn(current, &at) && lag_parse_lsn(confirmed, &by))
        now.lag_ms = lag_look(&slot->lag, at, by, clock_ms());
    slot->was_seen = true;
    tell(slot, &now);
    count(slot, &now);
    return show(&now, list, e);
}

/* A slot that is not there any more: its mirror has left, or somebody dropped it. */
static void forget_unseen(struct slots *slots)
{
    size_t kept = 0;
    for (size_t i = 0; i < slots->count; i++) {
        struct slot *slot = slots->slot[i];
        if (slot->was_seen) {
            slots->slot[kept++] = slot;
            continue;
        }
        log_warn("slot %s is gone", slot->name);
        forget(slot);
    }
    slots->count = kept;
}

enum rc slots_look(struct slots *slots, struct pg *pg, struct json *list, struct err *e)
{
    auto_result struct pg_result *rows = NULL;
    if (pg_call(pg, "SELECT * FROM tarn_1.slots()", NULL, 0, clock_deadline(PRIMARY_CALL_MS), &rows,
                e))
        return err_note(e, "could not look at the replication slots");
    for (size_t i = 0; i < slots->count; i++)
        slots->slot[i]->was_seen = false;
    for (int i = 0; i < pg_rows(rows); i++)
        if (look_at(slots, rows, i, list, e))
            return e->code;
    forget_unseen(slots);
    return RC_OK;
}

uint64_t slots_silence(const struct slots *slots, const char *site)
{
    uint64_t most_ms = 0;
    for (size_t i = 0; i < slots->count; i++) {
        const struct slot *slot = slots->slot[i];
        const bool counts = !site || strcmp(slot->name + strlen("tarn_"), site) == 0;
        if (counts && slot->lag_ms > most_ms)
            most_ms = slot->lag_ms;
    }
    return most_ms;
}
