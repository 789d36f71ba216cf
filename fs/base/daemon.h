/*
 * daemon - what every long-running program does once: no core dumps with secrets in them, a
 * detached start whose parent waits for "ready" and passes on the exit code, sd_notify.
 *
 * Threads   before threads start, but for daemon_notify()
 */
#ifndef FS_BASE_DAEMON_H
#define FS_BASE_DAEMON_H

#include "fs/base/err.h"

/* No core dump of this process, nor of those it starts: what is in memory may be secret. */
void daemon_forbid_dumps(void);
/* That, SIGPIPE ignored, and malloc told to give memory back. */
void daemon_harden(void);

struct daemon_start;
/*
 * Fork. In the parent this never returns: it waits until the child calls daemon_ready() or dies,
 * and exits with the child's code. In the child, a new session with stdin/stdout on /dev/null and
 * stderr on log_path (appended) or left as it is (NULL).
 */
MUST_CHECK enum rc daemon_detach(struct daemon_start **out, const char *log_path, struct err *e);
/* Tell the waiting parent that all is well; frees the handle. NULL is ignored. */
void daemon_ready(struct daemon_start **start);
/* Tell the waiting parent the exit code and the one-line reason before we exit. NULL is ignored. */
void daemon_failed(struct daemon_start **start, int exit_code, const char *reason);

/* Send state (e.g. "READY=1") to systemd when NOTIFY_SOCKET is set. */
void daemon_notify(const char *state);

#endif
