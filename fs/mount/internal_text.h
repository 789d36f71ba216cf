/*
 * internal_text - what .stats and .config hold.
 *
 * Threads any · Blocking never
 * Source  volume format §13
 */
#ifndef FS_MOUNT_INTERNAL_TEXT_H
#define FS_MOUNT_INTERNAL_TEXT_H

#include "fs/cache/block.h"
#include "fs/mount/options.h"

/* What a mount is, set when it begins. */
struct internal_facts {
    struct volume *volume;
    struct block_cache *cache;
    const struct mount_options *options;
    const char *mount_point;
    const char *redacted_url;
    bool is_read_only;
};

/* "name value" lines: the metrics of this process, and those that JuiceFS's `stats` reads. */
MUST_CHECK enum rc internal_stats(const struct internal_facts *facts, struct buf *out,
                                  struct err *e);
/* The settings as JSON, without secrets, in the form of a stock mount. */
MUST_CHECK enum rc internal_config(const struct internal_facts *facts, struct buf *out,
                                   struct err *e);
/* Count what went through FUSE. */
void internal_count_read(uint64_t bytes);
void internal_count_written(uint64_t bytes);

#endif
