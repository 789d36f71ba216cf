/*
 * log - one line per event to stderr, in logfmt or JSON.
 *
 *   error  a person must act      warn  degraded      info  state changed      debug  for us
 *
 * A line is `ts=… level=… prog=… msg="…" key=value …`; values are quoted when they need it and
 * never contain a raw newline. Secrets are the caller's duty: pass a URL through url_redact().
 *
 * Threads   any; a line is written by one write(2) and is never torn
 * Blocking  as stderr does
 */
#ifndef FS_BASE_LOG_H
#define FS_BASE_LOG_H

#include <stdbool.h>

#include "fs/base/attr.h"
#include "fs/base/err.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Name the program, choose the form and the lowest level shown. Before this: logfmt, info. */
void log_init(const char *program, enum log_level lowest, bool as_json);

/* Parse "debug|info|warn|error". RC_INVALID otherwise. */
MUST_CHECK enum rc log_level_parse(const char *word, enum log_level *out, struct err *e);

/* fmt becomes msg. */
void log_write(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

/* The same with one error: adds rc="…" err="…". */
void log_err(enum log_level level, const struct err *e, const char *fmt, ...) PRINTF(3, 4);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
