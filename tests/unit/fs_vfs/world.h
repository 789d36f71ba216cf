/*
 * world - a volume in memory for tests of the vfs: what fs/meta and fs/volume are asked for, by
 * the rules of the volume format (§7: records, overlay, truncate, holes), at link time in their
 * place. One flat directory; calls are counted, can be slow and can fail.
 */
#ifndef TESTS_UNIT_FS_VFS_WORLD_H
#define TESTS_UNIT_FS_VFS_WORLD_H

#include <stdatomic.h>

#include "fs/vfs/vfs.h"

struct world_options {
    uint32_t block_bytes;
};

/* The one world there is. */
void world_open(const struct world_options *options);
void world_close(void);
struct volume *world_volume(void);

/* Switches and counters. */
struct world_switches {
    _Atomic unsigned failing_puts; /* so many of the next puts fail with RC_UNAVAILABLE */
    _Atomic unsigned put_delay_ms;
    _Atomic unsigned get_delay_ms;
    _Atomic unsigned slices_delay_ms; /* between the look and the answer */
    _Atomic unsigned readdir_delay_ms;
    _Atomic unsigned failing_readdir; /* the so-many-th fails with RC_UNAVAILABLE */
    _Atomic unsigned readdirs;
    _Atomic int commit_outcome;      /* enum rc of every commit */
    atomic_bool loses_commit_answer; /* of the next one, once */
    _Atomic unsigned commits, slice_reads, opens, releases, puts, gets;
    _Atomic unsigned slices_committed;
};
extern struct world_switches world;

/* What another mount does: a new slice over [off, off+size) filled with one byte. */
void world_write_elsewhere(ino_num ino, uint64_t off, uint32_t size, uint8_t byte);
/* What compaction does: every slice of chunk 0 into one, the old blocks gone, mtime kept. */
void world_compact(ino_num ino);
/* Remove the only name and the inode, as another mount with nothing open does. */
void world_remove_elsewhere(ino_num ino);

#endif
