#include "mirror/join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/store/layers.h"
#include "mirror/conninfo.h"
#include "mirror/mirror.h"

#define CONNINFO_MAX 8192
#define LOCK_MS      15000
#define SLOT_MS      600000

static enum rc make_tables(struct join *j, struct err *e)
{
    auto_result struct pg_result *ddl = NULL;
    uint64_t deadline_ms = clock_deadline(MIRROR_CALL_MS);
    const struct pg_param all = pg_text(NULL);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.volume_ddl($1)", &all, 1, deadline_ms, &ddl, e))
        return err_note(e, "could not ask the primary for its tables");
    const char *text = pg_rows(ddl) == 1 ? pg_get_text(ddl, 0, 0) : NULL;
    if (!text)
        return err_fail(e, RC_INVALID, "the primary has no tables of a volume");
    if (pg_script(j->own, "BEGIN", deadline_ms, e) ||
        mirror_do(j->own, "SELECT pg_temp.drop_unfinished()", NULL, e) ||
        pg_script(j->own, text, deadline_ms, e) || pg_script(j->own, "COMMIT", deadline_ms, e)) {
        err_note(e, "could not make the tables of the volume");
        pg_close(&j->own); /* rolls back, and nobody goes on with a broken transaction */
        return e->code;
    }
    return RC_OK;
}

static enum rc begin_site(struct join *j, char system[32], struct err *e)
{
    auto_buf struct buf primary, source;
    buf_init(&primary, CONNINFO_MAX);
    buf_init(&source, CONNINFO_MAX);
    const char *url, *source_url = NULL;
    if (conninfo_public(j->o->primary, &primary, e) || buf_cstr(&primary, &url, e))
        return e->code;
    if (j->o->source &&
        (conninfo_public(j->o->source, &source, e) || buf_cstr(&source, &source_url, e)))
        return e->code;
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(j->bucket[0] ? j->bucket : NULL),
                                      pg_text(j->origin[0] ? j->origin : NULL), pg_text(url),
                                      pg_text(source_url)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(j->own, "SELECT * FROM tarn_1.mirror_begin($1,$2,$3,$4,$5)", params, 5,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not begin the mirror");
    (void)snprintf(system, 32, "%s", pg_get_text(row, 0, 0));
    return RC_OK;
}

static enum rc register_site(struct join *j, const char *system, struct err *e)
{
    const struct pg_param params[] = {pg_text(j->o->name), pg_text(system)};
    auto_result struct pg_result *row = NULL;
    if (pg_call(join_home(j), "SELECT * FROM tarn_1.register($1,$2)", params, 2,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return err_note(e, "could not register the mirror at the primary");
    if (!pg_get_bool(row, 0, 0))
        return err_fail(e, RC_EXISTS, "another site is called \"%s\"", j->o->name);
    return RC_OK;
}

static enum rc subscribe(struct join *j, struct err *e)
{
    /* A passfile is there so that no password is stored. */
    const char *password = strstr(j->followed, "passfile=") ? NULL
                           : j->password                    ? j->password
                                                            : getenv("META_PASSWORD");
    auto_buf struct buf secret;
    buf_init(&secret, CONNINFO_MAX);
    const char *conninfo;
    if (conninfo_secret(j->followed, password, NULL, &secret, e) || buf_cstr(&secret, &conninfo, e))
        return e->code;
    if (mirror_do_hushed(j->own, "SELECT tarn_1.subscribe($1)", conninfo, e))
        return err_note(e, "could not subscribe");
    log_info("subscribed to the primary by slot %s", j->slot);
    return RC_OK;
}

/* The statement for a superuser; a password is not ours to show. */
static enum rc show_statement(struct join *j, struct err *e)
{
    auto_buf struct buf shown;
    buf_init(&shown, CONNINFO_MAX);
    const char *conninfo;
    if (conninfo_public(j->followed, &shown, e) || buf_cstr(&shown, &conninfo, e))
        return e->code;
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(conninfo);
    if (pg_call(j->own, "SELECT * FROM tarn_1.subscribe_statement($1)", &param, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    (void)printf("needed   a superuser runs once, in this database (the server needs a passfile "
                 "for it, or password=… in the URL):\n%s;\n",
                 pg_get_text(row, 0, 0));
    return RC_OK;
}

/* It may take until tomorrow: the slot keeps the WAL meanwhile, and the join may be begun anew. */
static enum rc await_subscription(struct join *j, struct err *e)
{
    bool is_there = false;
    if (show_statement(j, e))
        return err_note(e, "could not make the statement that subscribes");
    log_warn("waiting for a superuser to subscribe");
    while (!is_there) {
        auto_result struct pg_result *row = NULL;
        if (pg_call(j->own, "SELECT * FROM tarn_1.has_subscription()", NULL, 0,
                    clock_deadline(MIRROR_CALL_MS), &row, e))
            return e->code;
        is_there = pg_get_bool(row, 0, 0);
        if (!is_there)
            clock_sleep_until(clock_deadline(JOIN_LOOK_MS));
    }
    log_info("a superuser has subscribed by slot %s", j->slot);
    return mirror_do(j->own, "SELECT tarn_1.subscribed()", NULL, e);
}

enum rc join_lock(struct join *j, struct err *e)
{
    uint64_t deadline_ms = clock_deadline(LOCK_MS);
    while (!j->has_lock) {
        if (mirror_lock(j->own, &j->has_lock, e))
            return e->code;
        if (!j->has_lock && clock_left(deadline_ms) == 0)
            return err_fail(e, RC_EXISTS, "another join or agent is at work on this mirror");
        if (!j->has_lock)
            clock_sleep_until(clock_deadline(JOIN_LOOK_MS));
    }
    return RC_OK;
}

/* The directory, or one for each shard, as format makes them at the primary. */
static enum rc make_bucket(const struct join *j, struct err *e)
{
    const struct stack_options options = {.storage = "file",
                                          .bucket = j->bucket,
                                          .prefix = "",
                                          .shards = j->shards,
                                          .missing = BUCKET_CREATE};
    struct store *made = NULL;
    if (!j->bucket[0])
        return RC_OK;
    if (stack_open(&made, &options, e)) {
        err_note(e, "could not make the bucket \"%s\"", j->bucket);
        return err_exits(e, EXIT_STORE);
    }
    store_close(&made);
    return RC_OK;
}

/* A new slot begins where every transaction under way has ended: long ones hold it up. */
static enum rc make_slot(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param slot = pg_text(j->slot);
    if (mirror_do(j->primary, "SELECT * FROM tarn_1.slot_drop($1)", j->slot, e))
        return err_note(e, "could not drop the old slot \"%s\" at the primary", j->slot);
    log_info("making slot %s when the primary's transactions under way have ended", j->slot);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.slot_make($1)", &slot, 1, clock_deadline(SLOT_MS),
                &row, e))
        return err_note(e, "could not make slot \"%s\" at the primary", j->slot);
    return RC_OK;
}

enum rc join_make(struct join *j, struct err *e)
{
    char system[32];
    if (make_bucket(j, e) || make_tables(j, e) ||
        meta_install_missing(j->own, clock_deadline(MIRROR_CALL_MS), e) ||
        begin_site(j, system, e) || join_lock(j, e) || register_site(j, system, e))
        return e->code;
    if (make_slot(j, e))
        return e->code;
    return j->may_subscribe ? subscribe(j, e) : await_subscription(j, e);
}

/* The slot is gone at the primary, so what was copied so far cannot be gone on with. */
static enum rc drop_orphan(struct join *j, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param name = pg_text(j->slot);
    if (pg_call(j->primary, "SELECT * FROM tarn_1.slot_of($1)", &name, 1,
                clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    if (!pg_is_null(row, 0, pg_column(row, "active")))
        return RC_OK;
    log_warn("slot %s is gone at the primary; beginning anew", j->slot);
    j->has_subscription = false;
    return mirror_do(j->own, "SELECT * FROM tarn_1.mirror_leave()", NULL, e);
}

enum rc join_resume(struct join *j, struct err *e)
{
    return join_lock(j, e) ? e->code : drop_orphan(j, e);
}
