/*
 * format: a new volume and its primary.
 *
 *   1  check the database and the bucket; nothing is changed yet
 *   2  the object juicefs_uuid: it shows that the bucket can be written
 *   3  the tables and rows, in one transaction
 *   4  adopt
 *
 * When 3 fails the object of 2 is removed again. After 3 the volume exists; when 4 fails it is made
 * a primary by `tarn primary adopt`.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/meta/finding.h"
#include "fs/meta/format.h"
#include "fs/meta/meta_install.h"
#include "fs/store/layers.h"
#include "primary/primary.h"

#define FORMAT_BYTES_MAX (256 << 10)
#define PEM_BYTES_MAX    (64 << 10)
#define STORE_MS         30000
#define UUID_KEY         "juicefs_uuid"

struct format_options {
    const char *storage, *bucket;
    const char *access_key, *secret_key, *session_token;
    int64_t block_bytes;
    const char *compress;
    int64_t shards;
    bool hash_prefix, enable_acl;
    int64_t capacity_bytes, inodes, trash_days;
    const char *encrypt_rsa_key, *encrypt_algo;
    const char *site;
    bool json;
};

#define AT(member) .offset = offsetof(struct format_options, member)
#define STORAGE    .group = "Data storage"
#define MANAGE     .group = "Management"
static const struct conf_option options[] = {
    {.name = "storage",
     STORAGE,
     .type = CONF_STRING,
     .default_text = "file",
     .help = "object storage type",
     AT(storage)},
    {.name = "bucket",
     STORAGE,
     .type = CONF_STRING,
     .help = "the bucket: a directory, with %d in its name when there are shards",
     AT(bucket)},
    {.name = "access-key",
     STORAGE,
     .type = CONF_STRING,
     .env = "ACCESS_KEY",
     .help = "access key of the object storage",
     AT(access_key)},
    {.name = "secret-key",
     STORAGE,
     .type = CONF_STRING,
     .env = "SECRET_KEY",
     .secret = true,
     .help = "secret key of the object storage; better given by the environment",
     AT(secret_key)},
    {.name = "session-token",
     STORAGE,
     .type = CONF_STRING,
     .env = "SESSION_TOKEN",
     .secret = true,
     .help = "session token of the object storage; better given by the environment",
     AT(session_token)},
    {.name = "block-size",
     .group = "Data format",
     .type = CONF_SIZE,
     .unit = "KiB",
     .default_text = "4M",
     .min = 64 << 10,
     .max = 16 << 20,
     .help = "size of a block",
     AT(block_bytes)},
    {.name = "compress",
     .group = "Data format",
     .type = CONF_STRING,
     .default_text = "none",
     .help = "compression: none, lz4 or zstd",
     AT(compress)},
    {.name = "encrypt-rsa-key",
     .group = "Data format",
     .type = CONF_STRING,
     .help = "encrypt blocks; a file with an RSA private key (passphrase: JFS_RSA_PASSPHRASE)",
     AT(encrypt_rsa_key)},
    {.name = "encrypt-algo",
     .group = "Data format",
     .type = CONF_STRING,
     .default_text = "aes256gcm-rsa",
     .help = "aes256gcm-rsa or chacha20-rsa",
     AT(encrypt_algo)},
    {.name = "hash-prefix",
     .group = "Data format",
     .type = CONF_FLAG,
     .help = "put a hash in front of each object's name",
     AT(hash_prefix)},
    {.name = "shards",
     .group = "Data format",
     .type = CONF_INT,
     .default_text = "0",
     .min = 0,
     .max = 256,
     .help = "spread blocks over that many buckets",
     AT(shards)},
    {.name = "capacity",
     MANAGE,
     .type = CONF_SIZE,
     .unit = "GiB",
     .default_text = "0",
     .help = "limit of the space used; 0: none",
     AT(capacity_bytes)},
    {.name = "inodes",
     MANAGE,
     .type = CONF_INT,
     .default_text = "0",
     .min = 0,
     .max = INT64_MAX,
     .help = "limit of the number of inodes; 0: none",
     AT(inodes)},
    {.name = "trash-days",
     MANAGE,
     .type = CONF_INT,
     .default_text = "1",
     .min = 0,
     .max = 36500,
     .help = "days that deleted files are kept; 0: none, which needs mirrors without lag",
     AT(trash_days)},
    {.name = "enable-acl",
     MANAGE,
     .type = CONF_FLAG,
     .help = "keep POSIX ACLs; cannot be turned off again",
     AT(enable_acl)},
    {.name = "site",
     MANAGE,
     .type = CONF_STRING,
     .default_text = "primary",
     .help = "name of this site",
     AT(site)},
    {.name = "json", MANAGE, .type = CONF_FLAG, .help = "print JSON", AT(json)},
};

static const struct conf_command command = {
    .name = "tarn format",
    .arguments = "META-URL NAME",
    .summary = "make a new volume and its primary",
    .details =
        "  tarn format postgres://owner@db.example/volume myvol --bucket /srv/blocks/\n\n"
        "The password comes from META_PASSWORD or a libpq passfile. The database must be\n"
        "empty, and the bucket must hold nothing of that name.\n"
        "Exit codes: 0 done, 1 a check failed, 3 unreachable, 4 denied, 7 the bucket cannot\n"
        "be used.",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 2,
    .max_arguments = 2,
};

/* Everything that is made on the way, released in one place. */
struct making {
    struct pg *pg;
    struct store *store;
    struct format *format;
    struct buf row;
    bool has_object;
};

/* An absolute path that ends with "/", as the format row has it; other storages say it their way.
 */
static enum rc bucket_path(const struct format_options *o, char out[PATH_MAX], struct err *e)
{
    if (!o->bucket || !o->bucket[0])
        return err_fail(e, RC_INVALID, "option --bucket is missing");
    if (strcmp(o->storage, "file") != 0) {
        (void)snprintf(out, PATH_MAX, "%s", o->bucket);
        return RC_OK;
    }
    char here[PATH_MAX] = "";
    if (o->bucket[0] != '/' && !getcwd(here, sizeof(here)))
        return err_os(e, errno, "could not find the working directory");
    const char *slash = o->bucket[strlen(o->bucket) - 1] == '/' ? "" : "/";
    int size = snprintf(out, PATH_MAX, "%s%s%s%s", here, here[0] ? "/" : "", o->bucket, slash);
    return size < PATH_MAX ? RC_OK : err_fail(e, RC_INVALID, "the bucket's path is too long");
}

static enum rc read_pem(const char *path, struct buf *pem, struct err *e)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return err_os(e, errno, "could not open the key \"%s\"", path);
    char piece[4096];
    ssize_t got;
    while ((got = read(fd, piece, sizeof(piece))) > 0)
        if (buf_add(pem, piece, (size_t)got, e))
            return e->code;
    return got == 0 ? RC_OK : err_os(e, errno, "could not read the key \"%s\"", path);
}

/* The format row, as text and as we read it. */
static enum rc compose(const struct format_options *o, const char *name, struct making *m,
                       struct err *e)
{
    char bucket[PATH_MAX];
    auto_buf struct buf pem;
    buf_init(&pem, PEM_BYTES_MAX);
    const char *key = NULL;
    if (bucket_path(o, bucket, e))
        return e->code;
    if (o->encrypt_rsa_key && (read_pem(o->encrypt_rsa_key, &pem, e) || buf_cstr(&pem, &key, e)))
        return e->code;
    const struct format_request request = {
        .name = name,
        .storage = o->storage,
        .bucket = bucket,
        .compression = o->compress,
        .access_key = o->access_key,
        .secret_key = o->secret_key,
        .session_token = o->session_token,
        .encrypt_key_pem = key,
        .encrypt_algo = o->encrypt_algo,
        .block_kib = (uint32_t)(o->block_bytes >> 10),
        .shards = (uint32_t)o->shards,
        .trash_days = (uint32_t)o->trash_days,
        .hash_prefix = o->hash_prefix,
        .enable_acl = o->enable_acl,
        .capacity = (uint64_t)o->capacity_bytes,
        .inodes = (uint64_t)o->inodes,
    };
    if (format_compose(&request, &m->row, e))
        return e->code;
    return format_parse(buf_bytes(&m->row), &m->format, e);
}

/* A bucket is made, what it stands in is not: a missing directory there is a disk not mounted. */
static enum rc check_parent(const struct making *m, struct err *e)
{
    if (strcmp(m->format->storage, "file") != 0)
        return RC_OK;
    char parent[PATH_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", m->format->bucket);
    size_t size = strcspn(parent, "%");
    while (size > 1 && parent[size - 1] == '/')
        size--;
    while (size > 1 && parent[size - 1] != '/')
        size--;
    parent[size] = '\0';
    if (access(parent, F_OK) == 0)
        return RC_OK;
    err_os(e, errno, "bucket of volume \"%s\" cannot be made in \"%s\"", m->format->name, parent);
    return err_exits(e, EXIT_STORE);
}

static enum rc open_bucket(struct making *m, struct err *e)
{
    if (check_parent(m, e))
        return e->code;
    char prefix[128];
    (void)snprintf(prefix, sizeof(prefix), "%s/", m->format->name);
    const struct stack_options stack = {
        .storage = m->format->storage,
        .bucket = m->format->bucket,
        .prefix = prefix,
        .shards = m->format->shards,
        .encrypt_pem = m->format->encrypt_key,
        .encrypt_passphrase = getenv("JFS_RSA_PASSPHRASE"),
        .encrypt_algo = m->format->encrypt_algo,
        .missing = BUCKET_CREATE,
    };
    if (stack_open(&m->store, &stack, e) == RC_OK)
        return RC_OK;
    err_note(e, "bucket of volume \"%s\" at \"%s\"", m->format->name, m->format->bucket);
    return e->code == RC_INVALID || e->code == RC_NOT_FOUND ? err_exits(e, EXIT_STORE) : e->code;
}

static bool see_object(const struct store_object *object, void *arg)
{
    (void)snprintf(arg, STORE_KEY_MAX, "%s", object->key);
    return false;
}

static enum rc check_bucket(struct making *m, struct findings *found, struct err *e)
{
    char seen[STORE_KEY_MAX] = "";
    if (open_bucket(m, e) ||
        store_list(m->store, "", "", see_object, seen, clock_deadline(STORE_MS), e))
        return e->code;
    if (seen[0])
        return findings_add(found, FINDING_PROBLEM, "bucket",
                            "another name, another bucket, or remove the objects", e,
                            "bucket \"%s\" already holds objects of a volume \"%s\", such as %s",
                            m->format->bucket, m->format->name, seen);
    return findings_add(found, FINDING_OK, "bucket", NULL, e, "bucket \"%s\" is free",
                        m->format->bucket);
}

static enum rc check(const char *url, struct making *m, struct findings *found, struct err *e)
{
    if (primary_connect(&m->pg, url, e) ||
        findings_prepare(m->pg, clock_deadline(PRIMARY_CALL_MS), e) ||
        findings_ask(found, m->pg, "SELECT * FROM pg_temp.format_findings()", NULL, 0,
                     clock_deadline(PRIMARY_CALL_MS), e))
        return e->code;
    /* A bucket is made only for a database that can take the volume. */
    return found->problems ? RC_OK : check_bucket(m, found, e);
}

static enum rc make(struct making *m, const char *site, struct json *steps, struct err *e)
{
    const struct bytes uuid = {(const uint8_t *)m->format->uuid, strlen(m->format->uuid)};
    if (store_put(m->store, UUID_KEY, uuid, clock_deadline(STORE_MS), e))
        return err_note(e, "could not write to the bucket \"%s\"", m->format->bucket);
    m->has_object = true;
    const char *row;
    if (buf_cstr(&m->row, &row, e) ||
        meta_install_volume(m->pg, row, clock_deadline(PRIMARY_CALL_MS), e))
        return e->code;
    m->has_object = false; /* it belongs to a volume now */
    if (primary_take(m->pg, site, steps, e))
        return err_note(e, "the volume exists, but is no primary yet (tarn primary adopt)");
    return RC_OK;
}

static void release(struct making *m)
{
    struct err e = ERR_INIT;
    if (m->has_object && store_remove(m->store, UUID_KEY, clock_deadline(STORE_MS), &e))
        log_err(LOG_LEVEL_WARN, &e, "could not remove object \"" UUID_KEY "\" again");
    format_free(&m->format);
    store_close(&m->store);
    pg_close(&m->pg);
    buf_deinit(&m->row);
}

static void show(const struct making *m, bool as_json)
{
    if (as_json)
        (void)printf("{\"name\": \"%s\", \"uuid\": \"%s\"}\n", m->format->name, m->format->uuid);
    else
        (void)printf("done     volume \"%s\", UUID %s\n", m->format->name, m->format->uuid);
}

static enum rc run(void *into, const char *const *arguments, struct err *e)
{
    const struct format_options *o = into;
    struct making m = {0};
    auto_findings struct findings found = {0};
    auto_json struct json *steps = json_array_new();
    buf_init(&m.row, FORMAT_BYTES_MAX);
    enum rc rc = steps ? findings_init(&found, e) : err_fail(e, RC_NO_SPACE, "out of memory");
    if (!rc)
        rc = compose(o, arguments[1], &m, e);
    if (!rc)
        rc = check(arguments[0], &m, &found, e);
    if (!rc && !o->json)
        findings_print(&found, stdout);
    if (!rc && found.problems)
        rc = findings_refuse(&found, "cannot format", e);
    if (!rc)
        rc = make(&m, o->site, o->json ? steps : NULL, e);
    if (!rc)
        show(&m, o->json);
    release(&m);
    return rc;
}

int primary_format(int argc, char **argv)
{
    struct format_options o = {0};
    return command_run(&command, &o, run, argc, argv);
}
