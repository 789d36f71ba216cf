/*
 * agent - the frame of a site's daemon: one piece of work repeated each period on a worker thread,
 * beside a loop with the HTTP service and the signals.
 *
 * The work publishes what it knows as a JSON document, which GET /v1/status shows; after a turn
 * that failed it is WAITING and not ready until the next that works. SIGTERM and SIGINT end the
 * daemon after the work at hand; SIGHUP makes the next turn begin at once. A turn that fails
 * because the other side is away is tried again after a growing, bounded pause; any other failure
 * ends the daemon.
 *
 * Threads   agent_run() in the main thread, before others exist; the rest from the work
 * Blocking  agent_run() until the end; the work may block up to its own deadlines
 */
#ifndef FS_BASE_AGENT_H
#define FS_BASE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"
#include "fs/base/json.h"

struct agent;

/* One turn. RC_UNAVAILABLE, TIMEOUT, STALE, UNCERTAIN, IO: tried again; other codes end the agent.
 */
typedef enum rc (*agent_work)(struct agent *agent, void *arg, struct err *e);

struct agent_options {
    const char *listen; /* "host:port" of the HTTP service; NULL, "": none */
    uint64_t period_ms;
    const char *role; /* "primary" or "mirror", for the status while it waits */
    agent_work work;
    void *arg;
};

/*
 * From here to agent_run() a signal that ends the agent waits: whoever starts the program may stop
 * it the next moment, and must see it end cleanly. First thing in a daemon.
 */
void agent_hold_signals(void);

/* Run until a signal (RC_OK) or a failure that trying again cannot mend. */
MUST_CHECK enum rc agent_run(const struct agent_options *options, struct err *e);

/* Show status from now on, and whether /readyz says yes; takes *status. */
MUST_CHECK enum rc agent_publish(struct agent *agent, struct json **status, bool is_ready,
                                 struct err *e);

/* Show that this agent is WAITING, and not ready. */
MUST_CHECK enum rc agent_publish_waiting(struct agent *agent, struct err *e);

#endif
