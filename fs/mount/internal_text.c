#include "fs/mount/internal_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/json.h"
#include "fs/base/metric.h"

#define STATS_BYTES_MAX ((size_t)4 << 20)
#define SECOND_NS       INT64_C(1000000000)
#define MS_NS           INT64_C(1000000)

METRIC_DEFINE(read_bytes, METRIC_COUNTER, "tarn_fuse_read_bytes_total", NULL,
              "bytes answered to FUSE reads")
METRIC_DEFINE(written_bytes, METRIC_COUNTER, "tarn_fuse_written_bytes_total", NULL,
              "bytes of FUSE writes")

void internal_count_read(uint64_t bytes)
{
    metric_add(&read_bytes, (int64_t)bytes);
}

void internal_count_written(uint64_t bytes)
{
    metric_add(&written_bytes, (int64_t)bytes);
}

/* ---- .stats ---- */

/* Ours on the left, whatever its labels, and where it is added up for tools of stock mounts. */
static const struct {
    const char *ours, *theirs;
} aliases[] = {
    {"tarn_fuse_op_duration_seconds_count", "juicefs_fuse_ops_durations_histogram_seconds_total"},
    {"tarn_fuse_op_duration_seconds_sum", "juicefs_fuse_ops_durations_histogram_seconds_sum"},
    {"tarn_fuse_read_bytes_total", "juicefs_fuse_read_size_bytes_sum"},
    {"tarn_fuse_written_bytes_total", "juicefs_fuse_written_size_bytes_sum"},
    {"tarn_meta_call_seconds_count", "juicefs_meta_ops_durations_histogram_seconds_total"},
    {"tarn_meta_call_seconds_sum", "juicefs_meta_ops_durations_histogram_seconds_sum"},
    {"tarn_meta_call_seconds_count", "juicefs_transaction_durations_histogram_seconds_total"},
    {"tarn_meta_call_seconds_sum", "juicefs_transaction_durations_histogram_seconds_sum"},
    {"tarn_meta_retries_total", "juicefs_transaction_restart"},
    {"tarn_block_cache_hits_total", "juicefs_blockcache_hits"},
    {"tarn_block_cache_misses_total", "juicefs_blockcache_miss"},
    {"tarn_block_cache_hit_bytes_total", "juicefs_blockcache_hit_bytes"},
    {"tarn_block_cache_miss_bytes_total", "juicefs_blockcache_miss_bytes"},
    {"tarn_block_cache_miss_bytes_total", "juicefs_object_request_data_bytes_GET"},
    {"tarn_block_cache_misses_total",
     "juicefs_object_request_durations_histogram_seconds_GET_total"},
    {"tarn_upload_bytes_total", "juicefs_object_request_data_bytes_PUT"},
    {"tarn_upload_bytes_total", "juicefs_blockcache_write_bytes"},
    {"tarn_upload_seconds_count", "juicefs_object_request_durations_histogram_seconds_PUT_total"},
    {"tarn_upload_seconds_sum", "juicefs_object_request_durations_histogram_seconds_PUT_sum"},
};
#define ALIASES (sizeof(aliases) / sizeof(aliases[0]))

static void add_to_aliases(double *sums, const char *name, size_t size, double value)
{
    for (size_t i = 0; i < ALIASES; i++)
        if (strlen(aliases[i].ours) == size && memcmp(aliases[i].ours, name, size) == 0)
            sums[i] += value;
}

/* One line of the exposition: kept unless it is a comment or a bucket. */
static enum rc add_line(const char *line, double *sums, struct buf *out, struct err *e)
{
    const char *space = strrchr(line, ' ');
    const char *brace = strchr(line, '{');
    if (line[0] == '#' || !space)
        return RC_OK;
    const size_t size = (size_t)((brace ? brace : space) - line);
    if (size > 7 && memcmp(line + size - 7, "_bucket", 7) == 0)
        return RC_OK;
    add_to_aliases(sums, line, size, strtod(space + 1, NULL));
    return buf_addf(out, e, "%s\n", line);
}

static double resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage use = {0};
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000000;
}

static enum rc add_gauges(const struct internal_facts *facts, struct buf *out, struct err *e)
{
    uint64_t bytes, blocks;
    block_cache_usage(facts->cache, &bytes, &blocks);
    return buf_addf(out, e,
                    "juicefs_cpu_usage %.6f\njuicefs_memory %.0f\n"
                    "juicefs_used_buffer_size_bytes %llu\njuicefs_store_cache_size_bytes %llu\n"
                    "juicefs_blockcache_bytes %llu\njuicefs_blockcache_blocks %llu\n",
                    cpu_seconds(), resident_bytes(),
                    (unsigned long long)memory_used(block_cache_memory(facts->cache)),
                    (unsigned long long)bytes, (unsigned long long)bytes,
                    (unsigned long long)blocks);
}

enum rc internal_stats(const struct internal_facts *facts, struct buf *out, struct err *e)
{
    double sums[ALIASES] = {0};
    auto_buf struct buf all;
    buf_init(&all, STATS_BYTES_MAX);
    const char *text;
    if (metric_write(&all, e) || buf_cstr(&all, &text, e))
        return e->code;
    char *rest = (char *)all.data, *line;
    while ((line = strsep(&rest, "\n")) != NULL)
        if (*line && add_line(line, sums, out, e))
            return e->code;
    for (size_t i = 0; i < ALIASES; i++)
        if (buf_addf(out, e, "%s %.6f\n", aliases[i].theirs, sums[i]))
            return e->code;
    return add_gauges(facts, out, e);
}

/* ---- .config ---- */

struct json_member {
    const char *name;
    const char *text; /* NULL: the number */
    int64_t number;
    bool is_bool;
};

static enum rc set_members(struct json *object, const struct json_member *members, size_t count,
                           struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        const struct json_member *m = &members[i];
        enum rc rc = m->text      ? json_set_string(object, m->name, m->text, e)
                     : m->is_bool ? json_set_bool(object, m->name, m->number != 0, e)
                                  : json_set_int(object, m->name, m->number, e);
        if (rc)
            return rc;
    }
    return RC_OK;
}

#define TEXT(member, value)                                                                        \
    {                                                                                              \
        .name = (member), .text = (value)                                                          \
    }
#define NUMBER(member, value)                                                                      \
    {                                                                                              \
        .name = (member), .number = (int64_t)(value)                                               \
    }
#define FLAG(member, value)                                                                        \
    {                                                                                              \
        .name = (member), .number = (value), .is_bool = true                                       \
    }
#define MEMBERS_OF(array) (array), sizeof(array) / sizeof((array)[0])

static enum rc add_object(struct json *doc, const char *name, const struct json_member *members,
                          size_t count, struct err *e)
{
    auto_json struct json *object = json_object_new();
    if (!object)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    return set_members(object, members, count, e) ? e->code : json_set(doc, name, &object, e);
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* What opens the bucket or the data never leaves this process. */
static const char *removed(const char *secret)
{
    return secret && *secret ? "removed" : "";
}

static enum rc add_format(const struct internal_facts *facts, struct json *doc, struct err *e)
{
    struct meta *meta = volume_meta(facts->volume);
    struct format *f = meta_format_ref(meta);
    const struct json_member members[] = {
        TEXT("Name", f->name),
        TEXT("UUID", f->uuid),
        TEXT("Storage", or_empty(f->storage)),
        TEXT("StorageClass", or_empty(f->storage_class)),
        TEXT("Bucket", or_empty(f->bucket)),
        TEXT("AccessKey", or_empty(f->access_key)),
        TEXT("SecretKey", removed(f->secret_key)),
        TEXT("SessionToken", removed(f->session_token)),
        NUMBER("BlockSize", f->block_bytes / 1024),
        TEXT("Compression", or_empty(f->compression)),
        NUMBER("Shards", f->shards),
        FLAG("HashPrefix", f->hash_prefix),
        NUMBER("Capacity", f->capacity),
        NUMBER("Inodes", f->inodes),
        TEXT("EncryptKey", removed(f->encrypt_key)),
        TEXT("EncryptAlgo", or_empty(f->encrypt_algo)),
        NUMBER("TrashDays", f->trash_days),
        NUMBER("MetaVersion", f->meta_version),
        TEXT("MinClientVersion", or_empty(f->min_client)),
        TEXT("MaxClientVersion", or_empty(f->max_client)),
        FLAG("DirStats", f->dir_stats),
        FLAG("UserGroupQuota", f->user_group_quota),
        FLAG("EnableACL", f->enable_acl),
        FLAG("ChangeLog", f->change_log),
    };
    enum rc rc = add_object(doc, "Format", MEMBERS_OF(members), e);
    meta_format_unref(meta, &f);
    return rc;
}

static enum rc add_meta(const struct internal_facts *facts, struct json *doc, struct err *e)
{
    const struct json_member members[] = {
        NUMBER("Retries", 10),
        FLAG("ReadOnly", facts->is_read_only),
        FLAG("NoBGJob", facts->options->no_bgjob),
        NUMBER("Heartbeat", 12 * SECOND_NS),
        TEXT("MountPoint", facts->mount_point),
        TEXT("Subdir", or_empty(facts->options->subdir)),
        TEXT("AtimeMode", "noatime"),
        TEXT("Freshness", facts->options->freshness),
        NUMBER("WaitPrimary", facts->options->wait_primary_ms * MS_NS),
        NUMBER("DirStatFlushPeriod", SECOND_NS),
        NUMBER("SkipDirMtime", 100 * MS_NS),
        NUMBER("Sid", meta_session_id(volume_meta(facts->volume))),
    };
    return add_object(doc, "Meta", MEMBERS_OF(members), e);
}

static enum rc add_chunk(const struct internal_facts *facts, struct json *doc, struct err *e)
{
    const struct mount_options *o = facts->options;
    const struct json_member members[] = {
        TEXT("CacheDir", o->cache_bytes > 0 && o->cache_dir ? o->cache_dir : ""),
        NUMBER("CacheSize", o->cache_bytes),
        NUMBER("MaxUpload", o->max_uploads),
        NUMBER("MaxDownload", o->max_downloads),
        FLAG("HashPrefix", volume_hash_prefix(facts->volume)),
        NUMBER("BlockSize", volume_block_bytes(facts->volume)),
        NUMBER("BufferSize", o->buffer_bytes),
        NUMBER("Readahead", o->readahead_bytes),
    };
    return add_object(doc, "Chunk", MEMBERS_OF(members), e);
}

static enum rc add_fuse(const struct internal_facts *facts, struct json *doc, struct err *e)
{
    const struct mount_options *o = facts->options;
    const struct json_member members[] = {
        FLAG("AllowOther", !o->no_allow_other),
        NUMBER("MaxBackground", 200),
        NUMBER("MaxWrite", 1 << 20),
        NUMBER("MaxReadAhead", 1 << 20),
        TEXT("FsName", facts->redacted_url),
        TEXT("Name", "tarn"),
        FLAG("DirectMount", false),
        FLAG("EnableLocks", true),
    };
    return add_object(doc, "FuseOpts", MEMBERS_OF(members), e);
}

static enum rc compose(const struct internal_facts *facts, struct json *doc, struct err *e)
{
    const struct mount_options *o = facts->options;
    const struct json_member port[] = {TEXT("PrometheusAgent", or_empty(o->metrics)),
                                       TEXT("DebugAgent", ""), TEXT("ConsulAddr", ""),
                                       TEXT("PyroscopeAddr", "")};
    const struct json_member rest[] = {
        TEXT("Version", TARN_VERSION),
        NUMBER("AttrTimeout", o->attr_ms * MS_NS),
        NUMBER("DirEntryTimeout", o->dir_entry_ms * MS_NS),
        NUMBER("NegEntryTimeout", o->negative_entry_ms * MS_NS),
        NUMBER("EntryTimeout", o->entry_ms * MS_NS),
        TEXT("Subdir", or_empty(o->subdir)),
        FLAG("PrefixInternal", o->prefix_internal),
        FLAG("HideInternal", o->hide_internal),
        NUMBER("Pid", getpid()),
        NUMBER("PPid", getppid()),
        TEXT("Mountpoint", facts->mount_point),
    };
    if (add_meta(facts, doc, e) || add_format(facts, doc, e) || add_chunk(facts, doc, e) ||
        add_object(doc, "Port", MEMBERS_OF(port), e) || add_fuse(facts, doc, e))
        return e->code;
    return set_members(doc, MEMBERS_OF(rest), e);
}

enum rc internal_config(const struct internal_facts *facts, struct buf *out, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    return compose(facts, doc, e) ? e->code : json_write(doc, JSON_INDENT, out, e);
}
