/*
 * control_run - carrying out what was asked through .control.
 *
 * Threads   any
 * Blocking  until it is done or the watch is cancelled
 */
#ifndef FS_MOUNT_CONTROL_RUN_H
#define FS_MOUNT_CONTROL_RUN_H

#include "fs/mount/mount.h"
#include "fs/vfs/tree.h"
#include "fs/volume/control_wire.h"

struct control_context {
    struct mount *mount;
    struct volume *volume;
    const char *cache_dir; /* NULL: no disk cache */
    bool is_read_only;
};

/*
 * On behalf of who. On RC_OK answer holds the last frame, or nothing: then it is the errno 0.
 * RC_REFUSED has the errno to answer; RC_CANCELLED is EINTR.
 */
MUST_CHECK enum rc control_run(const struct control_context *context,
                               const struct control_request *request, const struct meta_caller *who,
                               struct tree_watch *watch, struct buf *answer, struct err *e);

/* The commands that answer a document; see control_info.c. */
MUST_CHECK enum rc control_info(const struct control_context *context,
                                const struct control_request *request, struct tree_watch *watch,
                                struct buf *answer, struct err *e);
MUST_CHECK enum rc control_summary(const struct control_context *context,
                                   const struct control_request *request, struct tree_watch *watch,
                                   struct buf *answer, struct err *e);

/* Compact every chunk at and below an inode; see control_compact.c. */
MUST_CHECK enum rc control_compact(const struct control_context *context,
                                   const struct control_request *request, struct tree_watch *watch,
                                   struct err *e);

#endif
