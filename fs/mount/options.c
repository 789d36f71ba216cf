#include "fs/mount/options.h"

#include <stddef.h>

#define AT(field) offsetof(struct mount_options, field)
#define GIB ((int64_t)1 << 30)
#define MIB ((int64_t)1 << 20)
#define DAY_MS ((int64_t)86400000)

static const struct conf_option options[] = {
    {.name = "background", .letter = 'd', .type = CONF_FLAG, .offset = AT(background),
     .help = "detach once mounted; the exit code tells whether it worked"},
    {.name = "read-only", .type = CONF_FLAG, .offset = AT(read_only),
     .help = "write nothing, neither files nor a session"},
    {.name = "ro", .type = CONF_FLAG, .offset = AT(ro), .help = "the same, as -o ro"},
    {.name = "rw", .type = CONF_FLAG, .offset = AT(rw),
     .help = "accepted for mount(8); a mirror can be mounted read-only alone"},
    {.name = "no-allow-other", .type = CONF_FLAG, .offset = AT(no_allow_other),
     .help = "let nobody but the mounting user in"},
    {.name = "subdir", .type = CONF_STRING, .offset = AT(subdir),
     .help = "show this directory of the volume as the root"},
    {.name = "log", .type = CONF_STRING, .offset = AT(log),
     .help = "with --background: append messages to this file"},
    {.name = "log-level", .type = CONF_STRING, .default_text = "info", .offset = AT(log_level),
     .help = "debug, info, warn or error"},
    {.name = "log-format", .type = CONF_STRING, .default_text = "logfmt", .offset = AT(log_format),
     .help = "logfmt or json"},
    {.name = "metrics", .type = CONF_STRING, .offset = AT(metrics),
     .help = "serve /metrics, /healthz and /readyz on HOST:PORT"},

    {.name = "meta-conns", .type = CONF_INT, .default_text = "4", .min = 1, .max = 64,
     .group = "Metadata", .offset = AT(meta_conns),
     .help = "connections to PostgreSQL at most; one is open when idle"},
    {.name = "meta-timeout", .type = CONF_DURATION, .unit = "s", .default_text = "60s",
     .min = 1000, .max = DAY_MS, .group = "Metadata", .offset = AT(meta_timeout_ms),
     .help = "how long an operation waits for a restarting PostgreSQL before it fails with EIO"},
    {.name = "attr-cache", .type = CONF_DURATION, .unit = "s", .default_text = "1s", .min = 0,
     .max = DAY_MS, .group = "Metadata", .offset = AT(attr_ms),
     .help = "time the kernel may keep attributes"},
    {.name = "entry-cache", .type = CONF_DURATION, .unit = "s", .default_text = "1s", .min = 0,
     .max = DAY_MS, .group = "Metadata", .offset = AT(entry_ms),
     .help = "time the kernel may keep names of files"},
    {.name = "dir-entry-cache", .type = CONF_DURATION, .unit = "s", .default_text = "1s",
     .min = 0, .max = DAY_MS, .group = "Metadata", .offset = AT(dir_entry_ms),
     .help = "time the kernel may keep names of directories"},

    {.name = "bucket", .type = CONF_STRING, .group = "Data", .offset = AT(bucket),
     .help = "object storage to use instead of the one the volume names"},
    {.name = "cache-dir", .type = CONF_STRING, .default_text = "/var/cache/tarn",
     .group = "Data", .offset = AT(cache_dir),
     .help = "directory of the disk cache; empty: no disk cache"},
    {.name = "cache-size", .type = CONF_SIZE, .unit = "MiB", .default_text = "100G", .min = 0,
     .max = (int64_t)1 << 50, .group = "Data", .offset = AT(cache_bytes),
     .help = "space of the disk cache at most; a plain number is MiB"},
    {.name = "free-space-ratio", .type = CONF_INT, .unit = "%", .default_text = "10", .min = 0,
     .max = 99, .group = "Data", .offset = AT(free_space_percent),
     .help = "share of the cache's file system to keep free"},
    {.name = "buffer-size", .type = CONF_SIZE, .unit = "MiB", .default_text = "300M",
     .min = 16 * MIB, .max = 1024 * GIB, .group = "Data", .offset = AT(buffer_bytes),
     .help = "memory for reading ahead and for writes under way; a plain number is MiB"},
    {.name = "max-readahead", .type = CONF_SIZE, .unit = "MiB", .default_text = "64M", .min = 0,
     .max = 64 * GIB, .group = "Data", .offset = AT(readahead_bytes),
     .help = "reading ahead of one open file at most; a plain number is MiB"},
    {.name = "max-uploads", .type = CONF_INT, .default_text = "20", .min = 1, .max = 256,
     .group = "Data", .offset = AT(max_uploads), .help = "blocks stored at the same time"},
    {.name = "max-downloads", .type = CONF_INT, .default_text = "16", .min = 1, .max = 256,
     .group = "Data", .offset = AT(max_downloads),
     .help = "blocks fetched ahead at the same time"},
    {.name = "threads", .type = CONF_INT, .default_text = "64", .min = 2, .max = 256,
     .group = "Data", .offset = AT(threads),
     .help = "requests served at the same time; threads exist only while they are needed"},
};

const struct conf_command mount_command = {
    .name = "tarn mount",
    .arguments = "META-URL MOUNTPOINT",
    .summary = "Mount a volume.",
    .details =
        "META-URL is postgres://USER@HOST[:PORT]/DATABASE. The password is taken from the URL,\n"
        "META_PASSWORD or libpq's passfile. A mirror is mounted read-only, and only once it is\n"
        "consistent. Without --background the program stays in the foreground; it leaves cleanly on\n"
        "SIGTERM and SIGINT, and when the file system is unmounted.\n"
        "\n"
        "Example:\n"
        "  META_PASSWORD=... tarn mount --background postgres://tarn@db/models /mnt/models\n"
        "\n"
        "Exit codes: 0 unmounted cleanly, 1 failed (data that could not be stored is named),\n"
        "2 wrong command line, 3 PostgreSQL or storage unreachable, 4 wrong password or missing\n"
        "privilege, 5 no volume in the database or not adopted, 6 mirror not consistent yet,\n"
        "7 bucket missing or of another volume.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};
