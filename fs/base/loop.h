/*
 * loop - libevent's home: one event loop in one thread.
 *
 * Threads   loop_post() and loop_stop() from any thread; everything else, and every callback, on
 *           the loop thread (names end in _on_loop)
 * Blocking  callbacks never block: no disk, DNS, SQL, contended lock
 */
#ifndef FS_BASE_LOOP_H
#define FS_BASE_LOOP_H

#include <stdint.h>

#include "fs/base/err.h"

struct loop;
struct loop_timer;
struct event_base;

typedef void (*loop_fn)(void *arg);
typedef void (*loop_signal_fn)(int signum, void *arg);

/* A loop that loop_run() drives in the calling thread. */
MUST_CHECK enum rc loop_open(struct loop **out, struct err *e);
/* A loop with a thread of its own, named name; loop_close() stops and joins it. */
MUST_CHECK enum rc loop_spawn(struct loop **out, const char *name, struct err *e);
void loop_close(struct loop **loop);

/* Run until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Run fn(arg) on the loop thread soon; order is kept. RC_UNAVAILABLE when 65 536 wait. */
MUST_CHECK enum rc loop_post(struct loop *loop, loop_fn fn, void *arg, struct err *e);

/*
 * Run fn(arg) on the loop thread and wait for it. Runs it right here when that is already where we
 * are, or when the loop has no thread of its own (then the caller must be who drives it).
 */
void loop_call(struct loop *loop, loop_fn fn, void *arg);

/* Call fn every period_ms until loop_timer_close(). Made before loop_run() or on the loop. */
MUST_CHECK enum rc loop_every(struct loop *loop, uint64_t period_ms, loop_fn fn, void *arg,
                              struct loop_timer **out, struct err *e);
void loop_timer_close(struct loop_timer **timer);

/* Call fn on the loop thread when signum arrives (SIGTERM, SIGINT, SIGHUP). */
MUST_CHECK enum rc loop_signal(struct loop *loop, int signum, loop_signal_fn fn, void *arg,
                               struct err *e);

/* For the HTTP service and the transfers, which live on the same library. */
struct event_base *loop_base(struct loop *loop);

#endif
