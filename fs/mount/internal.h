/*
 * internal - the files by which tools talk to a mount: .control, .accesslog, .stats, .config, and
 * the name of the trash.
 *
 * Its handlers stand in front of all others: they answer what concerns these files and pass on the
 * rest. They can be read, and .control written; nobody removes, renames or changes them. .control
 * is found under every directory and listed in none; the others are in the root of the mount.
 *
 * Threads   as requests are served; opening and closing by the owner
 * Blocking  a read of .accesslog up to a second; the rest as the handlers behind
 * Source    volume format §13
 */
#ifndef FS_MOUNT_INTERNAL_H
#define FS_MOUNT_INTERNAL_H

#include "fs/mount/internal_text.h"
#include "fs/mount/mount.h"

struct internal;
struct access_log;

struct internal_options {
    struct mount *mount; /* whose session is there once requests are served */
    struct internal_facts facts;
    const char *cache_dir; /* where a warmed block is, for --check; NULL: nowhere */
    bool has_prefix;       /* the names begin with ".jfs" */
    bool is_hidden;        /* not listed */
    bool has_trash;        /* the root of the mount is that of the volume */
};

/* options and what they point to outlive it. */
MUST_CHECK enum rc internal_open(struct internal **out, const struct internal_options *options,
                                 struct err *e);
/* Ends what .control has begun. No request is being served any more. */
void internal_close(struct internal **internal);

/* Put the handlers in front of those in ops. */
void internal_fill(struct internal *internal, struct fuse_lowlevel_ops *ops);
/* Is it one of the files? (Not the trash.) */
bool internal_has(fuse_ino_t ino);

/* For access_log_ops.c: the log, and the handlers behind its own. */
struct access_log *internal_log(struct internal *internal);
const struct fuse_lowlevel_ops *internal_logged(struct internal *internal);
/* Put the handlers of the access log in front of those in ops. */
void access_log_fill(struct fuse_lowlevel_ops *ops);

#endif
