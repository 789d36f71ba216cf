/*
 * progress - a progress bar on a terminal, a log line now and then elsewhere.
 *
 * Threads   progress_add() any; the rest the owner
 */
#ifndef FS_BASE_PROGRESS_H
#define FS_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress;

/*
 * what: "copying blocks". total 0: unknown. is_bytes: show amounts in MiB and a rate. NULL without
 * memory: the verbs below ignore it, as work must not fail for want of a picture of it.
 */
struct progress *progress_open(const char *what, uint64_t total, bool is_bytes);
void progress_set(struct progress *p, uint64_t done, uint64_t total);
void progress_add(struct progress *p, uint64_t n);
/* Finish the line. Sets *p to NULL. */
void progress_close(struct progress **p);

#endif
