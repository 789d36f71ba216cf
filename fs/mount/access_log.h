/*
 * access_log - a live log of requests for whoever reads .accesslog, in JuiceFS's form, which its
 * `profile` and other tools take:
 *
 *   2026.01.31 12:00:00.000001 [uid:0,gid:0,pid:4711] read (12,4096,0,0): (4096) - OK <0.000131>
 *
 * Each reader has a buffer of its own. Lines that a slow one has no room for are lost to it, and
 * nobody waits for it. While nobody reads, a request costs one look at a number.
 *
 * Threads   any
 * Blocking  access_log_read() up to a second; the rest never
 */
#ifndef FS_MOUNT_ACCESS_LOG_H
#define FS_MOUNT_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"

struct access_log;
struct log_reader;

MUST_CHECK enum rc access_log_open(struct access_log **out, struct err *e);
void access_log_close(struct access_log **log);

bool access_log_is_read(struct access_log *log);
/* Give a line, with its newline, to every reader. */
void access_log_add(struct access_log *log, struct bytes line);

/* RC_UNAVAILABLE: as many read already as there may be. */
MUST_CHECK enum rc access_log_reader(struct access_log *log, struct log_reader **out,
                                     struct err *e);
/* What has come since the last call, at most size bytes; "#\n" when a second brought nothing. */
size_t access_log_read(struct access_log *log, struct log_reader *reader, uint8_t *out,
                       size_t size);
void access_log_reader_close(struct access_log *log, struct log_reader **reader);

struct access_line {
    uint32_t uid, gid, pid;
    uint64_t took_us;
    int posix_errno;
    const char *call; /* "lookup (1,foo)" */
};
/* Append a line, stamped with the present time. */
MUST_CHECK enum rc access_log_format(struct buf *out, const struct access_line *line,
                                     struct err *e);
/* Append a name as it stands in a line: nothing that could break it. */
MUST_CHECK enum rc access_log_name(struct buf *out, struct bytes name, struct err *e);

#endif
