/*
 * torture - random operations on one file of a vfs and on a plain local file, which must never
 * differ: writes near and over chunk borders, reads, truncate, punched and zeroed ranges, fsync,
 * handles that come and go. Says seed and step when they do, and aborts.
 */
#ifndef TESTS_UNIT_FS_VFS_TORTURE_H
#define TESTS_UNIT_FS_VFS_TORTURE_H

#include "fs/vfs/vfs.h"

struct torture_options {
    struct vfs *vfs;
    const char *name;  /* in the root; made if missing */
    const char *model; /* path of the local file; made if missing */
    uint64_t seed;
    unsigned steps;
    uint32_t chunks; /* the file grows to about so many */
};

void torture_run(const struct torture_options *options);
/* Compare the whole file. */
void torture_compare(const struct torture_options *options);

#endif
