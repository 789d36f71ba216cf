/*
 * internal_impl - what the handlers of names (internal.c) and those of open files (internal_file.c)
 * share. Private to the internal files.
 */
#ifndef FS_MOUNT_INTERNAL_IMPL_H
#define FS_MOUNT_INTERNAL_IMPL_H

#include <time.h>

#include "fs/base/lock.h"
#include "fs/mount/internal.h"

/* The number of an inode above the first of them, except of the trash, which has its own. */
enum {
    INTERNAL_ACCESSLOG = 1,
    INTERNAL_CONTROL = 2,
    INTERNAL_STATS = 3,
    INTERNAL_CONFIG = 4,
    INTERNAL_TRASH = 5,
    INTERNAL_NODES = 5,
};

struct internal_file;

struct internal {
    /* set at open */
    struct internal_options options;
    struct timespec born;
    struct access_log *log;
    struct control *control;
    struct fuse_lowlevel_ops behind; /* the handlers of everything else */
    struct fuse_lowlevel_ops logged; /* those with ours in front */

    struct lock lock; /* guards the rest */
    struct internal_file *files;
};

struct internal *internal_of(fuse_req_t req);
const struct fuse_lowlevel_ops *internal_behind(fuse_req_t req);

/* 0: an inode of somebody else. */
int internal_number(fuse_ino_t ino);
fuse_ino_t internal_ino(int number);
mode_t internal_mode(int number);

/* Put the handlers of open files in front of those in behind_ops. */
void internal_file_fill(const struct fuse_lowlevel_ops *behind_ops, struct fuse_lowlevel_ops *ops);
/* Close what the kernel has not released: after a signal it never will. */
void internal_files_close(struct internal *in);

#endif
