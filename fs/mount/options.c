#include "fs/mount/options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct mount_options, field)
#define GIB       ((int64_t)1 << 30)
#define MIB       ((int64_t)1 << 20)
#define DAY_MS    ((int64_t)86400000)

/*
 * What JuiceFS's and mount(8)'s command lines may hold and what changes nothing here: the thing is
 * always so, or there is nothing to set. What would change the meaning of a mount is not among
 * them.
 */
#define WITHOUT_EFFECT "Accepted without effect"
#define ACCEPTED(option, why)                                                                      \
    {                                                                                              \
        .name = (option), .type = CONF_STRING, .group = WITHOUT_EFFECT,                            \
        .offset = AT(accepted_text), .help = (why)                                                 \
    }
#define ACCEPTED_FLAG(option, why)                                                                 \
    {                                                                                              \
        .name = (option), .type = CONF_FLAG, .group = WITHOUT_EFFECT, .offset = AT(accepted),      \
        .help = (why)                                                                              \
    }

static const struct conf_option options[] = {
    {.name = "background",
     .letter = 'd',
     .type = CONF_FLAG,
     .offset = AT(background),
     .help = "detach once mounted; the exit code tells whether it worked"},
    {.name = "read-only",
     .type = CONF_FLAG,
     .offset = AT(read_only),
     .help = "write nothing, neither files nor a session"},
    {.name = "ro", .type = CONF_FLAG, .offset = AT(ro), .help = "the same, as -o ro"},
    {.name = "rw",
     .type = CONF_FLAG,
     .offset = AT(rw),
     .help = "accepted for mount(8); the default"},
    {.name = "no-allow-other",
     .type = CONF_FLAG,
     .offset = AT(no_allow_other),
     .help = "let nobody but the mounting user in"},
    {.name = "subdir",
     .type = CONF_STRING,
     .offset = AT(subdir),
     .help = "show this directory of the volume as the root; made if it is missing"},
    {.name = "no-bgjob",
     .type = CONF_FLAG,
     .offset = AT(no_bgjob),
     .help = "leave the volume's background jobs to its other clients"},
    {.name = "log",
     .type = CONF_STRING,
     .offset = AT(log_file),
     .help = "with --background: append messages to this file"},
    {.name = "prefix-internal",
     .type = CONF_FLAG,
     .offset = AT(prefix_internal),
     .help = "call .control, .accesslog, .stats, .config and .trash .jfs.control and so on"},
    {.name = "hide-internal",
     .type = CONF_FLAG,
     .offset = AT(hide_internal),
     .help = "do not list them in the root"},
    {.name = "metrics",
     .type = CONF_STRING,
     .offset = AT(metrics),
     .help = "serve /metrics, /healthz and /readyz on HOST:PORT"},

    {.name = "meta-conns",
     .type = CONF_INT,
     .default_text = "4",
     .min = 1,
     .max = 64,
     .group = "Metadata",
     .offset = AT(meta_conns),
     .help = "connections to PostgreSQL at most; one is open when idle, and operations share them"},
    {.name = "meta-timeout",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "60s",
     .min = 1000,
     .max = DAY_MS,
     .group = "Metadata",
     .offset = AT(meta_timeout_ms),
     .help = "how long an operation waits for a restarting PostgreSQL before it fails with EIO"},
    {.name = "attr-cache",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "1s",
     .min = 0,
     .max = DAY_MS,
     .group = "Metadata",
     .offset = AT(attr_ms),
     .help = "time the kernel may keep attributes"},
    {.name = "entry-cache",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "1s",
     .min = 0,
     .max = DAY_MS,
     .group = "Metadata",
     .offset = AT(entry_ms),
     .help = "time the kernel may keep names of files"},
    {.name = "dir-entry-cache",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "1s",
     .min = 0,
     .max = DAY_MS,
     .group = "Metadata",
     .offset = AT(dir_entry_ms),
     .help = "time the kernel may keep names of directories"},
    {.name = "negative-entry-cache",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "0s",
     .min = 0,
     .max = DAY_MS,
     .group = "Metadata",
     .offset = AT(negative_entry_ms),
     .help = "time the kernel may remember that a name does not exist"},

    {.name = "freshness",
     .type = CONF_STRING,
     .default_text = "session",
     .group = "Mirrors",
     .offset = AT(freshness),
     .help =
         "what a mirror shows: eventual, session (your own changes too) or strict (everybody's)"},
    {.name = "wait-primary",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "0s",
     .min = 0,
     .max = DAY_MS,
     .group = "Mirrors",
     .offset = AT(wait_primary_ms),
     .help = "how long a change waits for a primary that is away, before it fails with EROFS"},
    {.name = "primary",
     .type = CONF_STRING,
     .group = "Mirrors",
     .offset = AT(primary_url),
     .help = "URL of the primary's database, instead of the one that the mirror knows"},

    {.name = "atime-mode",
     .type = CONF_STRING,
     .default_text = "noatime",
     .group = "Metadata",
     .offset = AT(atime_mode),
     .help = "when reading updates access times: noatime, relatime or strictatime"},
    {.name = "fast-statfs",
     .type = CONF_FLAG,
     .group = "Metadata",
     .offset = AT(fast_statfs),
     .help = "answer df from numbers that are up to 12 s old, without asking PostgreSQL"},
    {.name = "root-squash",
     .type = CONF_STRING,
     .group = "Users and groups",
     .offset = AT(root_squash),
     .help = "let root act as UID[:GID]; GID is 65534 when it is left out"},
    {.name = "all-squash",
     .type = CONF_STRING,
     .group = "Users and groups",
     .offset = AT(all_squash),
     .help = "let everybody act as UID[:GID]; goes before root-squash"},
    {.name = "map-ids",
     .type = CONF_STRING,
     .group = "Users and groups",
     .offset = AT(map_ids),
     .help = "file of lines \"user NAME VOLUME-ID\" and \"group NAME VOLUME-ID\"; see below"},
    {.name = "umask",
     .type = CONF_STRING,
     .group = "Users and groups",
     .offset = AT(umask),
     .help = "umask of new files and directories in octal, instead of the caller's"},
    {.name = "suid",
     .type = CONF_FLAG,
     .group = "Users and groups",
     .offset = AT(suid),
     .help = "let programs run with their set-user-ID and set-group-ID bits"},
    {.name = "dev",
     .type = CONF_FLAG,
     .group = "Users and groups",
     .offset = AT(dev),
     .help = "let device nodes be used"},
    {.name = "noexec",
     .type = CONF_FLAG,
     .group = "Users and groups",
     .offset = AT(noexec),
     .help = "let no program be run from here"},

    {.name = "bucket",
     .type = CONF_STRING,
     .group = "Data",
     .offset = AT(bucket),
     .help = "object storage to use instead of the one the volume names"},
    {.name = "cache-dir",
     .type = CONF_STRING,
     .default_text = "/var/cache/tarn",
     .group = "Data",
     .offset = AT(cache_dir),
     .help = "directory of the disk cache; empty: no disk cache"},
    {.name = "cache-size",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "100G",
     .min = 0,
     .max = (int64_t)1 << 50,
     .group = "Data",
     .offset = AT(cache_bytes),
     .help = "space of the disk cache at most"},
    {.name = "free-space-ratio",
     .type = CONF_INT,
     .unit = "%",
     .default_text = "10",
     .min = 0,
     .max = 99,
     .group = "Data",
     .offset = AT(free_space_percent),
     .help = "share of the cache's file system to keep free"},
    {.name = "buffer-size",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "300M",
     .min = 16 * MIB,
     .max = 1024 * GIB,
     .group = "Data",
     .offset = AT(buffer_bytes),
     .help = "memory for reading ahead and for writes under way"},
    {.name = "max-readahead",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "64M",
     .min = 0,
     .max = 64 * GIB,
     .group = "Data",
     .offset = AT(readahead_bytes),
     .help = "reading ahead of one open file at most"},
    {.name = "max-uploads",
     .type = CONF_INT,
     .default_text = "20",
     .min = 1,
     .max = 256,
     .group = "Data",
     .offset = AT(max_uploads),
     .help = "blocks stored at the same time"},
    {.name = "max-downloads",
     .type = CONF_INT,
     .default_text = "16",
     .min = 1,
     .max = 256,
     .group = "Data",
     .offset = AT(max_downloads),
     .help = "blocks fetched ahead at the same time"},
    {.name = "threads",
     .type = CONF_INT,
     .default_text = "64",
     .min = 2,
     .max = 256,
     .group = "Data",
     .offset = AT(threads),
     .help = "requests served at the same time; threads exist only while they are needed"},

    {.name = "writeback",
     .type = CONF_FLAG,
     .group = "Not done here",
     .offset = AT(writeback),
     .help = "refused: data is stored before fsync and close return"},
    {.name = "storage",
     .type = CONF_STRING,
     .group = "Not done here",
     .offset = AT(storage),
     .help = "refused: the kind of storage is the volume's; --bucket may name another place"},

    {.name = "foreground",
     .letter = 'f',
     .type = CONF_FLAG,
     .group = WITHOUT_EFFECT,
     .offset = AT(accepted),
     .help = "the default"},
    ACCEPTED_FLAG("enable-xattr", "extended attributes are always on"),
    ACCEPTED_FLAG("enable-ioctl", "chattr and lsattr always work"),
    ACCEPTED_FLAG("readdir-cache", "a page of a directory is one exchange"),
    ACCEPTED_FLAG("sort-dir", "names are always listed in byte order"),
    ACCEPTED_FLAG("force", "a mount point may be mounted over"),
    ACCEPTED_FLAG("no-syslog", "messages go to stderr or --log"),
    ACCEPTED_FLAG("no-usage-report", "nothing is ever reported"),
    ACCEPTED_FLAG("no-agent", "there is none"),
    ACCEPTED_FLAG("backup-skip-trash", "metadata is backed up with PostgreSQL's tools"),
    ACCEPTED("backup-meta", "metadata is backed up with PostgreSQL's tools"),
    ACCEPTED("heartbeat", "always 12 s"),
    ACCEPTED("skip-dir-nlink", "link counts are always kept"),
    ACCEPTED("skip-dir-mtime", "always 100 ms, JuiceFS's default"),
    ACCEPTED("open-cache", "an open always asks for the newest attributes"),
    ACCEPTED("open-cache-limit", "as open-cache"),
    ACCEPTED("prefetch", "reading ahead decides by itself"),
    ACCEPTED("max-fuse-io", "always 1 MiB"),
    ACCEPTED("io-retries", "time limits decide, not how often something was tried"),
    ACCEPTED("max-deletes", "always 10"),
    ACCEPTED("verify-cache-checksum", "always full: what a cache gives is verified"),
    ACCEPTED_FLAG("check-storage", "always: the bucket must be the volume's"),
    ACCEPTED_FLAG("allow-other", "the default; see --no-allow-other"),
    ACCEPTED_FLAG("default-permissions", "always on: the kernel checks permissions"),
    ACCEPTED_FLAG("nonempty", "always allowed"),
    ACCEPTED_FLAG("nosuid", "the default; see --suid"),
    ACCEPTED_FLAG("nodev", "the default; see --dev"),
    ACCEPTED_FLAG("exec", "the default; see --noexec"),
    ACCEPTED_FLAG("defaults", "of mount(8)"),
    ACCEPTED_FLAG("auto", "of mount(8)"),
    ACCEPTED_FLAG("noauto", "of mount(8)"),
    ACCEPTED_FLAG("nofail", "of mount(8)"),
    ACCEPTED_FLAG("user", "of mount(8)"),
    ACCEPTED_FLAG("async", "of mount(8)"),
    ACCEPTED_FLAG("-netdev", "_netdev of mount(8); \"_\" in an option is read as \"-\""),
    ACCEPTED_FLAG("noatime", "of mount(8); see --atime-mode"),
    ACCEPTED_FLAG("nodiratime", "of mount(8); see --atime-mode"),
    ACCEPTED_FLAG("relatime", "of mount(8); see --atime-mode"),

    COMMAND_LOG_OPTIONS(struct mount_options, log),
};

const struct conf_command mount_command = {
    .name = "tarn mount",
    .arguments = "META-URL MOUNTPOINT",
    .summary = "Mount a volume.",
    .details =
        "META-URL is postgres://USER@HOST[:PORT]/DATABASE. The password is taken from the URL,\n"
        "META_PASSWORD or libpq's passfile. Without --background the program stays in the foreground;\n"
        "it leaves cleanly on SIGTERM and SIGINT, and when the file system is unmounted.\n"
        "\n"
        "A mirror can be mounted once it is consistent. Reads are answered from its own database, and\n"
        "changes and file locks go to the primary's, in one exchange each; the first of them begins\n"
        "the session there. The password for it is taken from TARN_PRIMARY_PASSWORD or the passfile.\n"
        "While the primary is away, reads go on and changes fail with EROFS (see --wait-primary).\n"
        "--freshness says what a read must show; what is not here yet is waited for a little, then\n"
        "asked of the primary, and never answered from what is older:\n"
        "  eventual  what has arrived\n"
        "  session   all that this mount has done or seen before\n"
        "  strict    all that any client has done before; the kernel keeps no attributes and names\n"
        "At a primary all three mean that an open sees what was closed before. A mount follows when\n"
        "its site becomes the primary, or another one does.\n"
        "\n"
        "--map-ids is for sites that number their users differently. Each line of its file gives the\n"
        "number that a user or group has in the volume; the number here is looked up by name at the\n"
        "mount and again on SIGHUP. Ids that no line names pass through, but for those that a line\n"
        "has taken for somebody else, which become nobody (65534).\n"
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

enum rc options_check(const struct mount_options *o, struct err *e)
{
    if (o->writeback)
        return err_fail(e, RC_INVALID,
                        "--writeback is not done here: data is stored before fsync and close "
                        "return; leave the option out");
    if (o->storage)
        return err_fail(e, RC_INVALID,
                        "--storage cannot be changed by a mount: it is the volume's own; --bucket "
                        "may name another place of the same kind");
    return RC_OK;
}

enum rc options_umask(const struct mount_options *o, int *out, struct err *e)
{
    char *end;
    *out = -1;
    if (!o->umask || !*o->umask)
        return RC_OK;
    const unsigned long value = strtoul(o->umask, &end, 8);
    if (*end || value > 0777 || o->umask[0] == '-')
        return err_fail(e, RC_INVALID, "--umask must be an octal number up to 777, not \"%s\"",
                        o->umask);
    *out = (int)value;
    return RC_OK;
}

enum rc options_freshness(const struct mount_options *o, enum meta_freshness *out, struct err *e)
{
    static const char *const names[] = {"eventual", "session", "strict"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(o->freshness, names[i]) == 0) {
            *out = (enum meta_freshness)i; /* in their order */
            return RC_OK;
        }
    return err_fail(e, RC_INVALID, "--freshness must be eventual, session or strict, not \"%s\"",
                    o->freshness);
}

enum rc options_atime(const struct mount_options *o, enum atime_mode *out, struct err *e)
{
    static const char *const names[] = {"noatime", "relatime", "strictatime"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(o->atime_mode, names[i]) == 0) {
            *out = (enum atime_mode)i; /* in their order */
            return RC_OK;
        }
    return err_fail(e, RC_INVALID,
                    "--atime-mode must be noatime, relatime or strictatime, not \"%s\"",
                    o->atime_mode);
}
