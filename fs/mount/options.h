/*
 * options - what `tarn mount` can be told, with JuiceFS's names and units where they mean the same.
 *
 * Threads   parsed before threads start, constant afterwards
 */
#ifndef FS_MOUNT_OPTIONS_H
#define FS_MOUNT_OPTIONS_H

#include "fs/base/command.h"
#include "fs/vfs/vfs.h"

struct mount_options {
    bool background, read_only, ro, rw, no_allow_other;
    bool no_bgjob; /* the volume's background jobs are left to others */
    bool fast_statfs, suid, dev, noexec, writeback;
    bool prefix_internal, hide_internal;
    bool accepted; /* options that change nothing */
    const char *accepted_text;
    const char *bucket, *storage, *cache_dir, *subdir, *log_file, *metrics;
    const char *root_squash, *all_squash, *map_ids;
    const char *umask, *atime_mode;
    const char *freshness, *primary_url;
    struct command_log log;
    int64_t cache_bytes, buffer_bytes, readahead_bytes;
    int64_t max_uploads, max_downloads, meta_conns, threads, free_space_percent;
    int64_t attr_ms, entry_ms, dir_entry_ms, negative_entry_ms, meta_timeout_ms, wait_primary_ms;
};

extern const struct conf_command mount_command;

/* RC_INVALID: an option that would promise what is not kept, with a sentence that says so. */
MUST_CHECK enum rc options_check(const struct mount_options *options, struct err *e);
MUST_CHECK enum rc options_atime(const struct mount_options *options, enum atime_mode *out,
                                 struct err *e);
MUST_CHECK enum rc options_freshness(const struct mount_options *options, enum meta_freshness *out,
                                     struct err *e);
/* The umask that goes before the callers' own; -1: none was given. */
MUST_CHECK enum rc options_umask(const struct mount_options *options, int *out, struct err *e);

#endif
