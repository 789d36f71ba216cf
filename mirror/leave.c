/*
 * leave: the subscription goes here, the slot and the site's row at the primary. The primary is
 * reached first: a slot that stays behind keeps WAL until the disk is full.
 */
#include <stddef.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "mirror/facts.h"
#include "mirror/mirror.h"

/* An agent that has just ended is seen until its server process has noticed. */
#define AGENT_ENDS_MS 2000
#define LOOK_AGAIN_MS 100

struct leave_options {
    const char *primary, *primary_password;
    bool force;
};

static const struct conf_option options[] = {
    {.name = "primary",
     .type = CONF_STRING,
     .help = "URL of the primary, when the subscription is gone already",
     .offset = offsetof(struct leave_options, primary)},
    {.name = "primary-password",
     .type = CONF_STRING,
     .secret = true,
     .help = "password at the primary; give it by the environment",
     .offset = offsetof(struct leave_options, primary_password)},
    {.name = "force",
     .type = CONF_FLAG,
     .help = "go on when the primary cannot be reached; its slot is then yours to drop",
     .offset = offsetof(struct leave_options, force)},
};

static const struct conf_command command = {
    .name = "tarn mirror leave",
    .arguments = "MIRROR-URL",
    .summary = "end the mirror: subscription here, slot at the primary",
    .details = "The tables stay as they are but cannot be mounted any more. A join into the same\n"
               "database begins anew. Stop the agent, the syncer and the mounts first.\n"
               "Exit codes: 0 left, 3 the primary cannot be reached, 4 denied, 5 no mirror there.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

static enum rc reach_primary(const struct leave_options *o, struct pg *own, struct pg **primary,
                             const struct facts *f, struct err *e)
{
    if (o->primary)
        return mirror_connect(primary, o->primary, o->primary_password, MIRROR_CONNECT_MS, e);
    if (f->has_subscription)
        return mirror_connect_primary(own, primary, MIRROR_CONNECT_MS, e);
    return mirror_connect(primary, f->source_url ? f->source_url : f->primary_url,
                          o->primary_password, MIRROR_CONNECT_MS, e);
}

/* The site's row is the primary's, where the slot was at another mirror. */
static enum rc unregister(const struct leave_options *o, struct pg *own, struct pg *followed,
                          const struct facts *f, struct err *e)
{
    struct pg *home = NULL;
    if (!f->source_url)
        return mirror_do(followed, "SELECT * FROM tarn_1.unregister($1)", f->name, e);
    enum rc rc = mirror_connect_home(own, NULL, o->primary_password, MIRROR_CONNECT_MS, &home, e);
    if (!rc)
        rc = mirror_do(home, "SELECT * FROM tarn_1.unregister($1)", f->name, e);
    pg_close(&home);
    return rc;
}

static enum rc end_at_primary(const struct leave_options *o, struct pg *own, struct pg *followed,
                              const struct facts *f, struct err *e)
{
    if (mirror_do(followed, "SELECT * FROM tarn_1.slot_drop($1)", f->subscription, e))
        return err_note(e, "could not drop slot \"%s\" at the primary", f->subscription);
    (void)printf("done     slot \"%s\" at the primary is dropped\n", f->subscription);
    if (unregister(o, own, followed, f, e))
        return err_note(e, "could not strike site \"%s\" off at the primary", f->name);
    return RC_OK;
}

static enum rc take_lock(struct pg *own, bool *is_ours, struct err *e)
{
    const uint64_t end_ms = clock_deadline(AGENT_ENDS_MS);
    while (!mirror_lock(own, is_ours, e) && !*is_ours && clock_ms() < end_ms)
        clock_sleep_until(clock_deadline(LOOK_AGAIN_MS));
    return e->code;
}

static enum rc leave(const struct leave_options *o, struct pg *own, struct pg **primary,
                     struct err *e)
{
    auto_facts struct facts f = {0};
    bool is_ours = false;
    if (facts_read(own, &f, e) || take_lock(own, &is_ours, e))
        return e->code;
    if (!is_ours)
        return err_fail(e, RC_EXISTS, "the agent of this mirror is running; stop it first");
    enum rc rc = reach_primary(o, own, primary, &f, e);
    if (rc && !o->force)
        return err_note(e, "could not reach the primary (--force goes on without it)");
    if (mirror_do(own, "SELECT * FROM tarn_1.mirror_leave()", NULL, e))
        return err_note(e, "could not drop the subscription");
    (void)printf("done     \"%s\" is no mirror any more\n", f.name);
    if (!rc)
        return end_at_primary(o, own, *primary, &f, e);
    (void)printf("left     at the primary: SELECT pg_drop_replication_slot('%s');\n",
                 f.subscription);
    return RC_OK;
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    struct pg *own = NULL, *primary = NULL;
    enum rc rc = mirror_connect(&own, arguments[0], NULL, MIRROR_CONNECT_MS, e);
    if (!rc)
        rc = leave(into, own, &primary, e);
    pg_close(&primary);
    pg_close(&own);
    return rc;
}

int mirror_leave(int argc, char **argv)
{
    struct leave_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
