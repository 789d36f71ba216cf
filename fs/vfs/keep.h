/*
 * keep - what inodes were like when they were last closed here, so that the next open knows
 * whether the kernel's pages of them are still right.
 *
 * A bounded, set-associative table: pages of it that nobody needed cost nothing.
 *
 * Threads   the caller's to lock · Blocking never
 */
#ifndef FS_VFS_KEEP_H
#define FS_VFS_KEEP_H

#include "fs/meta/types.h"

struct keep_table;

/* Equal stamps: equal content. mtime alone would not do: it can be set back. */
struct keep_stamp {
    struct timespec ctime, mtime;
    uint64_t length;
    uint8_t digest[16];
};

/* NULL without memory: nothing is then ever kept, which is always right. */
struct keep_table *keep_open(void);
void keep_close(struct keep_table **table);
void keep_put(struct keep_table *table, ino_num ino, const struct keep_stamp *stamp);
void keep_remove(struct keep_table *table, ino_num ino);
bool keep_matches(const struct keep_table *table, ino_num ino, const struct keep_stamp *stamp);

bool keep_stamp_equal(const struct keep_stamp *a, const struct keep_stamp *b);

#endif
