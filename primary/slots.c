/*
 *   wal_status   what it means                                      in the log
 *   reserved     the WAL that the mirror needs is kept              info
 *   extended     more than max_wal_size is kept for it              warn
 *   unreserved   the next checkpoint may remove what it needs       error
 *   lost         the mirror must be copied anew                     error
 *
 * PostgreSQL itself says nothing before the limit, so three levels are watched besides, each told
 * when it is entered and when it is left:
 *
 *   alarm        of the limit max_slot_wal_keep_size   of the time that the trash gives (TrashDays)
 *   CALM         less than half is used                more than half is left
 *   NEAR         half                                  half                              warn
 *   AT_ONCE      four fifths                           a fifth                           error
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

enum alarm { ALARM_CALM, ALARM_NEAR, ALARM_AT_ONCE };

struct slot {
    char name[SLOT_NAME_MAX];
    char wal_status[16];
    bool is_active;
    bool was_seen;
    bool was_given_up;
    enum alarm wal, margin;
    struct lag lag;
    uint64_t lag_ms; /* as of the last look */
    char labels[SLOT_LABEL_MAX];
    struct metric lag_bytes, lag_seconds, active, safe_bytes, silent_seconds, margin_seconds,
        given_up;
};

struct slots {
    struct slot *slot[SLOTS_MAX];
    size_t count;
    bool was_advised;
};

/* What one look saw. */
struct sight {
    const char *name, *wal_status, *site;
    const char *given_up_at; /* NULL: deletions wait for it, or it has passed them */
    bool is_active, has_limit;
    int64_t lag_bytes, safe_bytes, limit_bytes, silent_s, trash_days, margin_s;
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
    metric_unregister(&slot->safe_bytes);
    metric_unregister(&slot->silent_seconds);
    metric_unregister(&slot->margin_seconds);
    metric_unregister(&slot->given_up);
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
    register_gauge(slot, &slot->safe_bytes, "tarn_slot_safe_bytes",
                   "WAL that may be written before the slot is lost; -1 where nothing limits it");
    register_gauge(slot, &slot->silent_seconds, "tarn_slot_silent_seconds",
                   "Since a mirror last came forward");
    register_gauge(
        slot, &slot->margin_seconds, "tarn_slot_deletion_margin_seconds",
        "TrashDays less the lag: below 0 stock clients remove what a mirror still reads");
    register_gauge(slot, &slot->given_up, "tarn_slot_given_up",
                   "1 when deletions have not waited for a mirror, until it has passed them");
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

static enum alarm alarm_of(int64_t left, int64_t whole)
{
    if (left * 5 <= whole)
        return ALARM_AT_ONCE;
    return left * 2 <= whole ? ALARM_NEAR : ALARM_CALM;
}

static enum log_level level_of_alarm(enum alarm a)
{
    if (a == ALARM_CALM)
        return LOG_LEVEL_INFO;
    return a == ALARM_NEAR ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR;
}

/* How much WAL may still be written before the slot is lost. */
static void tell_wal(struct slot *slot, const struct sight *now)
{
    enum alarm a = now->has_limit ? alarm_of(now->safe_bytes, now->limit_bytes) : ALARM_CALM;
    if (a != slot->wal)
        log_write(level_of_alarm(a),
                  "mirror \"%s\": %" PRId64 " of %" PRId64
                  " bytes of WAL are left until slot %s is lost (max_slot_wal_keep_size)",
                  now->site, now->safe_bytes, now->limit_bytes, slot->name);
    slot->wal = a;
}

/* How long until stock clients, who ask nobody, remove what the mirror still reads. */
static void tell_margin(struct slot *slot, const struct sight *now)
{
    enum alarm a =
        now->trash_days > 0 ? alarm_of(now->margin_s, now->trash_days * 86400) : ALARM_CALM;
    if (a != slot->margin)
        log_write(level_of_alarm(a),
                  "mirror \"%s\" is %" PRId64 " s behind: in %" PRId64
                  " s stock clients may remove what is still read there (TrashDays is %" PRId64 ")",
                  now->site, now->trash_days * 86400 - now->margin_s, now->margin_s,
                  now->trash_days);
    slot->margin = a;
}

static void tell_given_up(struct slot *slot, const struct sight *now)
{
    if (now->given_up_at && !slot->was_given_up)
        log_error("mirror \"%s\" is given up: objects that it may still read are deleted since %s",
                  now->site, now->given_up_at);
    if (!now->given_up_at && slot->was_given_up)
        log_info("mirror \"%s\" has caught up with what was deleted without it", now->site);
    slot->was_given_up = now->given_up_at != NULL;
}

/* Once: a mirror that stays away fills the disk, and nothing stops that. */
static void advise(struct slots *slots, const struct sight *now)
{
    if (now->has_limit || slots->was_advised)
        return;
    log_warn(
        "max_slot_wal_keep_size is unlimited: a mirror that stays away fills this server's "
        "disk; ALTER SYSTEM SET max_slot_wal_keep_size = '64GB'; SELECT pg_reload_conf(); with "
        "half of what the disk of pg_wal has free");
    slots->was_advised = true;
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
    tell_wal(slot, now);
    tell_margin(slot, now);
    tell_given_up(slot, now);
}

static void count(struct slot *slot, const struct sight *now)
{
    slot->lag_ms = now->lag_ms;
    metric_set(&slot->lag_bytes, now->lag_bytes);
    metric_set(&slot->lag_seconds, (int64_t)(now->lag_ms / 1000));
    metric_set(&slot->active, now->is_active);
    metric_set(&slot->safe_bytes, now->has_limit ? now->safe_bytes : -1);
    metric_set(&slot->silent_seconds, now->silent_s);
    metric_set(&slot->margin_seconds, now->margin_s);
    metric_set(&slot->given_up, now->given_up_at != NULL);
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
        json_set_real(item, "lag_seconds", (double)now->lag_ms / 1000, e) ||
        json_set_int(item, "silent_seconds", now->silent_s, e) ||
        json_set_int(item, "trash_days", now->trash_days, e) ||
        json_set_int(item, "deletion_margin_seconds", now->margin_s, e) ||
        (now->has_limit && (json_set_int(item, "limit_bytes", now->limit_bytes, e) ||
                            json_set_int(item, "safe_bytes", now->safe_bytes, e))) ||
        (now->given_up_at && json_set_string(item, "given_up_at", now->given_up_at, e)))
        return e->code;
    return json_append(list, &item, e);
}

static int64_t number(const struct pg_result *rows, int i, const char *column)
{
    return pg_get_int8(rows, i, pg_column(rows, column));
}

static struct sight read_sight(const struct pg_result *rows, int i)
{
    return (struct sight){
        .name = pg_get_text(rows, i, pg_column(rows, "slot")),
        .site = pg_get_text(rows, i, pg_column(rows, "site")),
        .wal_status = pg_get_text(rows, i, pg_column(rows, "wal_status")),
        .given_up_at = pg_get_text(rows, i, pg_column(rows, "given_up_at")),
        .is_active = pg_get_bool(rows, i, pg_column(rows, "active")),
        .has_limit = !pg_is_null(rows, i, pg_column(rows, "limit_bytes")),
        .lag_bytes = number(rows, i, "lag_bytes"),
        .safe_bytes = number(rows, i, "safe_bytes"),
        .limit_bytes = number(rows, i, "limit_bytes"),
        .silent_s = number(rows, i, "silent_seconds"),
        .trash_days = number(rows, i, "trash_days"),
        .margin_s = number(rows, i, "deletion_margin_seconds"),
    };
}

static enum rc look_at(struct slots *slots, const struct pg_result *rows, int i, struct json *list,
                       struct err *e)
{
    struct sight now = read_sight(rows, i);
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
    advise(slots, &now);
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
    if (pg_call(pg, "SELECT * FROM tarn_1.slot_watch()", NULL, 0, clock_deadline(PRIMARY_CALL_MS),
                &rows, e))
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
