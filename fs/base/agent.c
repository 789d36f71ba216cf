#include "fs/base/agent.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/daemon.h"
#include "fs/base/http.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/loop.h"
#include "fs/base/metric.h"
#include "fs/base/pool.h"

#define STATUS_BYTES_MAX (1 << 20)
#define PAUSE_FIRST_MS   500
#define PAUSE_MAX_MS     15000

METRIC_DEFINE(turns, METRIC_COUNTER, "tarn_agent_turns_total", NULL, "Turns of the agent's work")
METRIC_DEFINE(failures, METRIC_COUNTER, "tarn_agent_failed_turns_total", NULL,
              "Turns that failed and were tried again")

struct agent {
    /* set at open */
    const struct agent_options *options;
    struct loop *loop;
    struct http_service *http;

    /* shared */
    struct lock lock;
    struct lock_cond wake;
    bool is_ending;
    bool is_hurried;
    struct buf status;

    /* of the work */
    bool was_ready;
    struct err end;
};

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_TIMEOUT || rc == RC_STALE || rc == RC_UNCERTAIN ||
           rc == RC_IO;
}

static bool asked_to_end(struct agent *agent)
{
    LOCK_SCOPE(&agent->lock);
    return agent->is_ending;
}

enum rc agent_publish(struct agent *agent, struct json **status, bool is_ready, struct err *e)
{
    auto_json struct json *document = take_pointer(status);
    auto_buf struct buf text;
    buf_init(&text, STATUS_BYTES_MAX);
    if (json_write(document, JSON_INDENT, &text, e) || buf_add_str(&text, "\n", e))
        return err_note(e, "could not publish the status");
    {
        LOCK_SCOPE(&agent->lock);
        const struct buf old = agent->status;
        agent->status = text;
        text = old;
    }
    if (agent->http && is_ready != agent->was_ready)
        http_service_ready(agent->http, is_ready);
    agent->was_ready = is_ready;
    return RC_OK;
}

enum rc agent_publish_waiting(struct agent *agent, struct err *e)
{
    auto_json struct json *status = json_object_new();
    if (!status)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_string(status, "role", agent->options->role, e) ||
        json_set_string(status, "state", "WAITING", e))
        return e->code;
    return agent_publish(agent, &status, false, e);
}

/* What was published before the failure is not true any more. */
static void show_failure(struct agent *agent)
{
    struct err e = ERR_INIT;
    if (agent_publish_waiting(agent, &e))
        log_err(LOG_LEVEL_WARN, &e, "could not show that the agent waits");
}

static enum rc serve_status(void *arg, struct buf *out, int *status, struct err *e)
{
    struct agent *agent = arg;
    LOCK_SCOPE(&agent->lock);
    if (agent->status.size == 0) {
        *status = 503;
        return buf_add_str(out, "{}\n", e);
    }
    return buf_add(out, agent->status.data, agent->status.size, e);
}

/* Wait for the next turn; a hurried or ending agent does not. */
static void pause_until(struct agent *agent, uint64_t deadline_ms)
{
    LOCK_SCOPE(&agent->lock);
    while (!agent->is_ending && !agent->is_hurried &&
           lock_wait(&agent->wake, &agent->lock, deadline_ms))
        continue;
    agent->is_hurried = false;
}

/* One turn; how long to wait before the next goes to *pause_ms, which grows while turns fail. */
static enum rc turn(struct agent *agent, uint64_t *pause_ms, struct err *e)
{
    metric_add(&turns, 1);
    enum rc rc = agent->options->work(agent, agent->options->arg, e);
    if (rc == RC_OK) {
        *pause_ms = 0;
        return RC_OK;
    }
    show_failure(agent);
    if (!is_passing(rc))
        return rc;
    metric_add(&failures, 1);
    *pause_ms = *pause_ms ? *pause_ms * 2 : PAUSE_FIRST_MS;
    if (*pause_ms > PAUSE_MAX_MS)
        *pause_ms = PAUSE_MAX_MS;
    log_err(LOG_LEVEL_WARN, e, "trying again in %" PRIu64 " ms", *pause_ms);
    return RC_OK;
}

static void work_until_end(void *arg)
{
    struct agent *agent = arg;
    uint64_t pause_ms = 0;
    while (!asked_to_end(agent)) {
        uint64_t begun_ms = clock_ms();
        struct err e = ERR_INIT;
        if (turn(agent, &pause_ms, &e)) {
            agent->end = e;
            break;
        }
        pause_until(agent,
                    pause_ms ? clock_deadline(pause_ms) : begun_ms + agent->options->period_ms);
    }
    loop_stop(agent->loop);
}

static void wake_on_loop(struct agent *agent, bool is_ending)
{
    LOCK_SCOPE(&agent->lock);
    agent->is_ending = agent->is_ending || is_ending;
    agent->is_hurried = true;
    lock_broadcast(&agent->wake);
}

static void end_on_signal(int signum, void *arg)
{
    log_info("ending on signal %d", signum);
    daemon_notify("STOPPING=1");
    wake_on_loop(arg, true);
}

static void hurry_on_signal(int signum, void *arg)
{
    log_info("signal %d: looking again now", signum);
    wake_on_loop(arg, false);
}

static void mask_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(how, &set, NULL);
}

void agent_hold_signals(void)
{
    mask_signals(SIG_BLOCK);
}

static enum rc open_http(struct agent *agent, struct err *e)
{
    if (!agent->options->listen || agent->options->listen[0] == '\0')
        return RC_OK;
    if (http_service_open(&agent->http, agent->loop, agent->options->listen, e) ||
        http_service_route(agent->http, "/v1/status", "application/json", serve_status, agent, e))
        return err_note(e, "could not serve HTTP on \"%s\"", agent->options->listen);
    log_info("listening on port %u", http_service_port(agent->http));
    return RC_OK;
}

static enum rc open_all(struct agent *agent, struct pool **pool, struct err *e)
{
    const struct pool_options one = {.name = "agent", .max_threads = 1, .max_queued = 1};
    if (loop_open(&agent->loop, e) || loop_signal(agent->loop, SIGTERM, end_on_signal, agent, e) ||
        loop_signal(agent->loop, SIGINT, end_on_signal, agent, e) ||
        loop_signal(agent->loop, SIGHUP, hurry_on_signal, agent, e) || open_http(agent, e) ||
        pool_open(pool, &one, e))
        return e->code;
    return pool_submit(*pool, work_until_end, agent, e);
}

enum rc agent_run(const struct agent_options *options, struct err *e)
{
    struct agent agent = {.options = options, .end = ERR_INIT};
    struct pool *pool = NULL;
    lock_init(&agent.lock, LOCK_BASE_QUEUE);
    lock_cond_init(&agent.wake);
    buf_init(&agent.status, STATUS_BYTES_MAX);

    enum rc rc = open_all(&agent, &pool, e);
    if (rc == RC_OK) {
        daemon_notify("READY=1");
        mask_signals(SIG_UNBLOCK);
        loop_run(agent.loop);
        pool_close(&pool);
        if (agent.end.code) {
            *e = agent.end;
            rc = e->code;
        }
    }
    pool_close(&pool);
    http_service_close(&agent.http);
    loop_close(&agent.loop);
    buf_deinit(&agent.status);
    lock_cond_deinit(&agent.wake);
    lock_deinit(&agent.lock);
    return rc;
}
