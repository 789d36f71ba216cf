/*
 * options - what `tarn mount` can be told, with JuiceFS's names and units where they mean the same.
 *
 * Threads   parsed before threads start, constant afterwards
 */
#ifndef FS_MOUNT_OPTIONS_H
#define FS_MOUNT_OPTIONS_H

#include "fs/base/command.h"

struct mount_options {
    bool background, read_only, ro, rw, no_allow_other;
    const char *bucket, *cache_dir, *subdir, *log_file, *metrics;
    struct command_log log;
    int64_t cache_bytes, buffer_bytes, readahead_bytes;
    int64_t max_uploads, max_downloads, meta_conns, threads, free_space_percent;
    int64_t attr_ms, entry_ms, dir_entry_ms, meta_timeout_ms;
};

extern const struct conf_command mount_command;

#endif
