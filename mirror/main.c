/*
 * tarn-mirror: a site that follows. Finds the command and runs it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/daemon.h"
#include "fs/base/log.h"
#include "mirror/mirror.h"

#define PASSWORD_VARIABLE "TARN_PRIMARY_PASSWORD"

static const struct command_verb verbs[] = {
    {"join", "make an empty database a mirror of a primary", mirror_join},
    {"run", "the agent of a mirror site", mirror_run},
    {"status", "show the state of a mirror and how far it is behind", mirror_status},
    {"wait", "wait until a mirror shows what the primary has", mirror_wait},
    {"audit", "compare a mirror with its primary, and repair it", mirror_audit},
    {"reseed", "copy a mirror anew beside the copy that serves", mirror_reseed},
    {"leave", "end the mirror: subscription here, slot at the primary", mirror_leave},
    {"promote", "make this mirror the primary", mirror_promote},
    {"demote", "give a primary's role to one of its mirrors: promote, seen from there",
     mirror_demote},
    {"repoint", "follow another primary after a planned promotion", mirror_repoint},
    {"rejoin", "list what a lost primary has of its own, and make it a mirror", mirror_rejoin},
};

enum rc mirror_connect(struct pg **out, const char *url, const char *password, uint64_t wait_ms,
                       struct err *e)
{
    const struct pg_options options = {
        .url = url, .application = "tarn-mirror", .password = password};
    return pg_open(out, &options, clock_deadline(wait_ms), e);
}

enum rc mirror_reconnect(struct pg **pg, const char *url, const char *password, struct err *e)
{
    if (*pg && pg_is_open(*pg))
        return RC_OK;
    pg_close(pg);
    return mirror_connect(pg, url, password, MIRROR_CONNECT_MS, e);
}

enum rc mirror_do(struct pg *pg, const char *sql, const char *text, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    const struct pg_param param = pg_text(text);
    return pg_call(pg, sql, &param, text ? 1 : 0, clock_deadline(MIRROR_CALL_MS), &row, e);
}

enum rc mirror_do_hushed(struct pg *pg, const char *sql, const char *secret, struct err *e)
{
    struct err unheard = ERR_INIT;
    if (mirror_do(pg, "SELECT tarn_1.hush()", NULL, e))
        return e->code;
    enum rc rc = mirror_do(pg, sql, secret, e);
    if (pg_is_open(pg) && mirror_do(pg, "SELECT tarn_1.unhush()", NULL, &unheard))
        log_err(LOG_LEVEL_DEBUG, &unheard, "could not log as before");
    return rc;
}

enum rc mirror_connect_primary(struct pg *own, struct pg **out, uint64_t wait_ms, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.conninfo()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return e->code;
    if (pg_rows(row) == 0)
        return err_fail(e, RC_NOT_FOUND, "there is no subscription");
    if (mirror_connect(out, pg_get_text(row, 0, 0), getenv(PASSWORD_VARIABLE), wait_ms, e))
        return err_note(e, "primary");
    return RC_OK;
}

enum rc mirror_connect_home(struct pg *own, const char *url, const char *password, uint64_t wait_ms,
                            struct pg **out, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (!url && pg_call(own, "SELECT * FROM tarn_1.home_url()", NULL, 0,
                        clock_deadline(MIRROR_CALL_MS), &row, e))
        return e->code;
    const char *home = url ? url : pg_rows(row) == 1 ? pg_get_text(row, 0, 0) : NULL;
    if (!home)
        return mirror_connect_primary(own, out, wait_ms, e);
    if (!password || !password[0])
        password = getenv(PASSWORD_VARIABLE);
    if (mirror_connect(out, home, password, wait_ms, e))
        return err_note(e, "primary");
    return RC_OK;
}

enum rc mirror_lock(struct pg *own, bool *is_ours, struct err *e)
{
    auto_result struct pg_result *row = NULL;
    if (pg_call(own, "SELECT * FROM tarn_1.agent_lock()", NULL, 0, clock_deadline(MIRROR_CALL_MS),
                &row, e))
        return e->code;
    *is_ours = pg_get_bool(row, 0, 0);
    return RC_OK;
}

int main(int argc, char **argv)
{
    daemon_harden();
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* steps show as they are done, in a log file too */
    log_init("tarn-mirror", LOG_LEVEL_INFO, false);
    return command_dispatch("tarn mirror", verbs, sizeof(verbs) / sizeof(verbs[0]), argc, argv);
}
