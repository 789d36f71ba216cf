/*
 * info_mount - the form of `tarn info` that asks a mount, ours or a stock one.
 *
 * Threads main
 */
#ifndef FS_CLI_INFO_MOUNT_H
#define FS_CLI_INFO_MOUNT_H

#include <stdbool.h>

#include "fs/base/err.h"

struct info_mount_options {
    bool json, recursive, raw, strict;
    bool inode; /* the arguments are numbers */
};

/* arguments end with NULL. */
MUST_CHECK enum rc info_mount(const struct info_mount_options *options,
                              const char *const *arguments, struct err *e);

#endif
