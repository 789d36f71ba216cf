#include "mirror/facts.h"

#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "mirror/mirror.h"

static const char *text(const struct pg_result *row, const char *column)
{
    return pg_get_text(row, 0, pg_column(row, column));
}

static int64_t number(const struct pg_result *row, const char *column)
{
    return pg_get_int8(row, 0, pg_column(row, column));
}

static bool flag(const struct pg_result *row, const char *column)
{
    return pg_get_bool(row, 0, pg_column(row, column));
}

static void take_row(struct facts *f, struct pg_result *row)
{
    *f = (struct facts){
        .row = row,
        .name = text(row, "name"),
        .role = text(row, "role"),
        .state = text(row, "state"),
        .detail = text(row, "detail"),
        .ready_at = text(row, "ready_at"),
        .primary_url = text(row, "primary_url"),
        .local_bucket = text(row, "local_bucket"),
        .origin_bucket = text(row, "origin_bucket"),
        .subscription = text(row, "subscription"),
        .received_lsn = text(row, "received_lsn"),
        .applied_lsn = text(row, "applied_lsn"),
        .heartbeat_lsn = text(row, "heartbeat_lsn"),
        .source_url = text(row, "source_url"),
        .heartbeat_system = text(row, "heartbeat_system"),
        .lost_by = text(row, "lost_by"),
        .is_ready = flag(row, "is_ready"),
        .has_subscription = flag(row, "has_subscription"),
        .is_enabled = flag(row, "is_enabled"),
        .has_worker = !pg_is_null(row, 0, pg_column(row, "worker_pid")),
        .has_heartbeat = !pg_is_null(row, 0, pg_column(row, "heartbeat_seq")),
        .tables_total = pg_get_int4(row, 0, pg_column(row, "tables_total")),
        .tables_ready = pg_get_int4(row, 0, pg_column(row, "tables_ready")),
        .errors = number(row, "apply_errors") + number(row, "sync_errors"),
        .waiting_bytes = number(row, "waiting_bytes"),
        .message_age_ms = number(row, "message_age_ms"),
        .epoch = number(row, "epoch"),
        .seq = number(row, "heartbeat_seq"),
        .heartbeat_age_ms = number(row, "heartbeat_age_ms"),
        .slices_waiting = number(row, "slices_waiting"),
        .slices_failing = number(row, "slices_failing"),
        .heartbeat_timeline = number(row, "heartbeat_timeline"),
        .heartbeat_xid = number(row, "heartbeat_xid"),
    };
}

enum rc facts_read(struct pg *own, struct facts *out, struct err *e)
{
    struct pg_result *row = NULL;
    enum rc rc = pg_call(own, "SELECT * FROM tarn_1.mirror_facts()", NULL, 0,
                         clock_deadline(MIRROR_CALL_MS), &row, e);
    if (rc && rc != RC_NOT_FOUND)
        return rc;
    if (rc || pg_rows(row) == 0) {
        pg_result_free(&row);
        err_fail(e, RC_NOT_FOUND, "this database is no mirror; tarn mirror join makes it one");
        return err_exits(e, EXIT_NOT_FORMATTED);
    }
    take_row(out, row);
    if (strcmp(out->role, "mirror") == 0)
        return RC_OK;
    err_fail(e, RC_INVALID, "this database is the primary \"%s\", no mirror", out->name);
    facts_deinit(out);
    return err_exits(e, EXIT_NOT_READY);
}

void facts_deinit(struct facts *f)
{
    pg_result_free(&f->row);
}

void facts_ask_primary(struct pg *primary, const char *slot, struct facts_primary *out)
{
    struct err ignored = ERR_INIT;
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(slot);
    out->is_reached = false;
    if (pg_call(primary, "SELECT * FROM tarn_1.slot_of($1)", &name, 1,
                clock_deadline(MIRROR_ASK_MS), &row, &ignored))
        return;
    const char *status = text(row, "wal_status");
    out->is_reached = true;
    out->has_slot = !pg_is_null(row, 0, pg_column(row, "active"));
    (void)snprintf(out->wal_status, sizeof(out->wal_status), "%s", status ? status : "lost");
    out->lag_bytes = number(row, "lag_bytes");
    out->tables = pg_get_int4(row, 0, pg_column(row, "tables"));
}

int64_t facts_lag_bytes(const struct facts *f, const struct facts_primary *p)
{
    if (f->source_url && p->knows_written)
        return p->written_bytes;
    return p->is_reached && p->has_slot ? p->lag_bytes : f->waiting_bytes;
}

int64_t facts_lag_transactions(const struct facts *f, const struct facts_primary *p)
{
    if (facts_lag_bytes(f, p) == 0 && p->is_reached)
        return 0;
    return p->knows_written ? p->written_transactions : -1;
}

/* Members whose value may be NULL are left out then. */
static enum rc set_text(struct json *into, const char *name, const char *value, struct err *e)
{
    return value ? json_set_string(into, name, value, e) : RC_OK;
}

static enum rc set_group(struct json *into, const char *name, struct json **group, enum rc rc,
                         struct err *e)
{
    return rc ? rc : json_set(into, name, group, e);
}

static enum rc add_identity(struct json *d, const struct facts *f, struct err *e)
{
    if (json_set_string(d, "site", f->name, e) || json_set_string(d, "role", f->role, e) ||
        json_set_string(d, "state", f->state, e) || set_text(d, "detail", f->detail, e) ||
        json_set_bool(d, "ready", f->is_ready, e) || set_text(d, "ready_at", f->ready_at, e) ||
        set_text(d, "primary_url", f->primary_url, e) ||
        set_text(d, "source_url", f->source_url, e) ||
        set_text(d, "local_bucket", f->local_bucket, e))
        return e->code;
    return set_text(d, "origin_bucket", f->origin_bucket, e);
}

static enum rc add_subscription(struct json *d, const struct facts *f, struct err *e)
{
    auto_json struct json *s = json_object_new();
    if (!s)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc = set_text(s, "name", f->subscription, e);
    if (!rc)
        rc = json_set_bool(s, "exists", f->has_subscription, e);
    if (!rc)
        rc = json_set_bool(s, "enabled", f->is_enabled, e);
    if (!rc)
        rc = json_set_bool(s, "worker", f->has_worker, e);
    if (!rc)
        rc = json_set_int(s, "errors", f->errors, e);
    if (!rc)
        rc = json_set_int(s, "tables_total", f->tables_total, e);
    if (!rc)
        rc = json_set_int(s, "tables_ready", f->tables_ready, e);
    if (!rc && f->received_lsn)
        rc = json_set_real(s, "message_age_seconds", (double)f->message_age_ms / 1000, e);
    return set_group(d, "subscription", &s, rc, e);
}

static enum rc add_lag(struct json *d, const struct facts *f, const struct facts_primary *p,
                       struct err *e)
{
    auto_json struct json *lag = json_object_new();
    if (!lag)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc = set_text(lag, "received_lsn", f->received_lsn, e);
    if (!rc)
        rc = set_text(lag, "applied_lsn", f->applied_lsn, e);
    if (!rc)
        rc = set_text(lag, "heartbeat_lsn", f->heartbeat_lsn, e);
    if (!rc && f->has_heartbeat)
        rc = json_set_int(lag, "epoch", f->epoch, e);
    if (!rc)
        rc = set_text(lag, "system_identifier", f->heartbeat_system, e);
    if (!rc && f->heartbeat_timeline > 0)
        rc = json_set_int(lag, "timeline", f->heartbeat_timeline, e);
    if (!rc)
        rc = json_set_int(lag, "bytes", facts_lag_bytes(f, p), e);
    if (!rc && facts_lag_transactions(f, p) >= 0)
        rc = json_set_int(lag, "transactions", facts_lag_transactions(f, p), e);
    if (!rc && f->has_heartbeat)
        rc = json_set_real(lag, "seconds", (double)f->heartbeat_age_ms / 1000, e);
    return set_group(d, "lag", &lag, rc, e);
}

static enum rc add_primary(struct json *d, const struct facts *f, const struct facts_primary *p,
                           struct err *e)
{
    auto_json struct json *primary = json_object_new();
    if (!primary)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc = json_set_bool(primary, "reached", p->is_reached, e);
    if (!rc && f->has_heartbeat)
        rc = json_set_int(primary, "epoch", f->epoch, e);
    if (!rc && f->has_heartbeat)
        rc = json_set_int(primary, "heartbeat_seq", f->seq, e);
    if (!rc && p->is_reached)
        rc = json_set_string(primary, "slot", p->has_slot ? p->wal_status : "gone", e);
    return set_group(d, "primary", &primary, rc, e);
}

enum rc facts_document(const struct facts *f, const struct facts_primary *p, struct json **out,
                       struct err *e)
{
    auto_json struct json *d = json_object_new();
    if (!d)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (add_identity(d, f, e) || add_subscription(d, f, e) || add_lag(d, f, p, e) ||
        add_primary(d, f, p, e) || json_set_int(d, "slices_waiting", f->slices_waiting, e) ||
        json_set_int(d, "slices_failing", f->slices_failing, e))
        return e->code;
    *out = take_pointer(&d);
    return RC_OK;
}
