/*
 * control - the conversations that tools have with a mount through .control.
 *
 * Each open handle is one: bytes that are written make a request, which a worker carries out while
 * the tool polls for frames; closing the handle cancels it. Requests, answers and workers are
 * bounded in number and size, for anybody on the machine may open the file.
 *
 * Threads   any
 * Blocking  never, except control_close(), which waits for the workers
 * Source    volume format §13
 */
#ifndef FS_MOUNT_CONTROL_H
#define FS_MOUNT_CONTROL_H

#include "fs/mount/control_run.h"

struct control;
struct control_session;

MUST_CHECK enum rc control_open(struct control **out, const struct control_context *context,
                                struct err *e);
/* Cancel what is running and wait for it. Every conversation has been closed. */
void control_close(struct control **control);

MUST_CHECK enum rc control_session_open(struct control *control, struct control_session **out,
                                        struct err *e);
/*
 * Take bytes of a request on behalf of who; with the last of them it begins. RC_REFUSED with EBUSY
 * while another one runs, EFBIG or ENOBUFS when it is larger than what is taken.
 */
MUST_CHECK enum rc control_session_write(struct control_session *session,
                                         const struct meta_caller *who, struct bytes data,
                                         struct err *e);
/*
 * Append up to size bytes of the conversation from off on; requests are counted in it, so off
 * begins behind what was written. Nothing: nothing yet. RC_REFUSED with EIO: that far back is not
 * kept.
 */
MUST_CHECK enum rc control_session_read(struct control_session *session, uint64_t off, size_t size,
                                        struct buf *out, struct err *e);
/* The tool closes a descriptor of the handle: what runs is cancelled. */
void control_session_flush(struct control_session *session);
void control_session_close(struct control_session **session);

#endif
