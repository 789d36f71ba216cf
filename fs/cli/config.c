/*
 * tarn config: show and change the settings of a volume.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/crypto.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/cli/config_edit.h"
#include "fs/cli/verbs.h"
#include "fs/meta/format.h"
#include "fs/meta/settings.h"
#include "fs/store/layers.h"
#include "fs/volume/guard.h"

#define CALL_MS        60000
#define COUNT_MS       3600000 /* switching counts on may scan the volume */
#define STORE_MS       30000
#define DIFF_BYTES_MAX ((size_t)1 << 20)

struct config_options {
    const char *given[SETTING_COUNT];
    bool encrypt_secret, force, yes, json;
};

#define GIVEN(setting) .offset = offsetof(struct config_options, given) + (setting) * sizeof(char *)
#define AT(member)     .offset = offsetof(struct config_options, member)
#define TEXT(title, option, setting, sentence)                                                     \
    {                                                                                              \
        .name = option, .group = title, .type = CONF_STRING, .help = sentence, GIVEN(setting)      \
    }
#define SECRET(option, setting, sentence)                                                          \
    {                                                                                              \
        .name = option, .group = "Data storage", .type = CONF_STRING, .secret = true,              \
        .help = sentence, GIVEN(setting)                                                           \
    }
#define SWITCH(option, setting, sentence)                                                          \
    {                                                                                              \
        .name = option, .group = "Management", .type = CONF_SWITCH, .help = sentence,              \
        GIVEN(setting)                                                                             \
    }

static const struct conf_option options[] = {
    TEXT("Data storage", "storage", SET_STORAGE, "object storage type"),
    TEXT("Data storage", "bucket", SET_BUCKET, "where the blocks are, when they were moved"),
    TEXT("Data storage", "access-key", SET_ACCESS_KEY, "access key of the object storage"),
    SECRET("secret-key", SET_SECRET_KEY,
           "secret key of the object storage; better given as TARN_SECRET_KEY"),
    SECRET("session-token", SET_SESSION_TOKEN,
           "session token of the object storage; better given as TARN_SESSION_TOKEN"),
    {.name = "encrypt-secret",
     .group = "Data storage",
     .type = CONF_FLAG,
     .help = "wrap secrets that are kept in plain",
     AT(encrypt_secret)},
    TEXT("Data storage", "upload-limit", SET_UPLOAD_LIMIT,
         "bandwidth of a stock client in Mbit/s; ours have no limit"),
    TEXT("Data storage", "download-limit", SET_DOWNLOAD_LIMIT, "the same for reading"),
    TEXT("Management", "capacity", SET_CAPACITY,
         "limit of the space used; a plain number is in GiB, 0 is none"),
    TEXT("Management", "inodes", SET_INODES, "limit of the number of inodes; 0 is none"),
    TEXT("Management", "trash-days", SET_TRASH_DAYS, "days that deleted files are kept; 0: none"),
    SWITCH("dir-stats", SET_DIR_STATS, "keep statistics of directories, which quotas need"),
    SWITCH("user-group-quota", SET_OWNER_QUOTA, "count what users and groups have"),
    SWITCH("enable-acl", SET_ACL, "POSIX ACLs, for good; clients before 1.2 are locked out"),
    SWITCH("changelog", SET_CHANGE_LOG, "note every change of metadata"),
    TEXT("Management", "changelog-max-age", SET_CHANGE_LOG_AGE,
         "how long such notes are kept, as 2h; 0: not limited by time"),
    TEXT("Management", "changelog-max-lines", SET_CHANGE_LOG_LINES,
         "how many such notes are kept; 0: any number"),
    TEXT("Management", "min-client-version", SET_MIN_CLIENT, "oldest client that may come"),
    TEXT("Management", "max-client-version", SET_MAX_CLIENT, "newest client that may come"),
    {.name = "yes",
     .letter = 'y',
     .type = CONF_FLAG,
     .help = "answer yes to every question",
     AT(yes)},
    {.name = "force", .type = CONF_FLAG, .help = "change without checks and questions", AT(force)},
    {.name = "json", .type = CONF_FLAG, .help = "print the settings as JSON", AT(json)},
};

static const struct conf_command command = {
    .name = "tarn config",
    .arguments = "META-URL",
    .summary = "Show the settings of a volume, or change those that are given.",
    .details =
        "  tarn config postgres://…                    show them, secrets left out\n"
        "  tarn config postgres://… --trash-days 7 --capacity 10T\n"
        "  TARN_SECRET_KEY=… tarn config postgres://… --access-key ABC\n"
        "\n"
        "Name, UUID, block size, compression, shards and hash prefix of a volume cannot be\n"
        "changed. A new bucket or key is tried before it is written down. Mounts follow within\n"
        "12 seconds. Only secrets may come from the environment here.\n"
        "\n"
        "Exit codes: 0 done or nothing to do, 1 a check failed, 2 wrong command line,\n"
        "3 PostgreSQL unreachable, 4 wrong password, 5 no volume in the database, 6 not the\n"
        "primary, 7 the bucket cannot be used.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
    .command_line_only = true,
};

/* A running command. */
struct config_job {
    const struct config_options *o;
    struct pg *pg;
    struct config_change change;
};

static uint64_t soon(void)
{
    return clock_deadline(CALL_MS);
}

/* ------------------------------------------------------------------------------------- showing */

static enum rc hide_secrets(struct json *row, struct err *e)
{
    static const char *const members[] = {"SecretKey", "SessionToken", "EncryptKey"};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (json_get(row, members[i]) && json_set_string(row, members[i], "removed", e))
            return e->code;
    return RC_OK;
}

static enum rc show(struct config_job *job, struct err *e)
{
    auto_buf struct buf text;
    auto_json struct json *row = NULL;
    buf_init(&text, SETTINGS_BYTES_MAX);
    if (settings_read(job->pg, &text, soon(), e) || json_parse(buf_bytes(&text), &row, e) ||
        hide_secrets(row, e))
        return e->code;
    return json_print(row, stdout, e);
}

/* ------------------------------------------------------------------------------------ checking */

static enum rc confirm(const struct config_job *job, struct err *e)
{
    char answer[16] = "";
    if (job->o->yes)
        return RC_OK;
    fputs("Proceed anyway? [y/N]: ", stderr);
    if (fgets(answer, sizeof(answer), stdin) &&
        (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0))
        return RC_OK;
    return err_fail(e, RC_CANCELLED, "nothing was changed");
}

/* Write, read and remove an object; the bucket must not say that it is another volume's. */
static enum rc try_object(struct store *bucket, const char *uuid, struct err *e)
{
    char key[64], random[37];
    auto_buf struct buf back;
    buf_init(&back, 64);
    if (guard_check(bucket, uuid, e) || crypto_uuid4(random, e))
        return e->code;
    snprintf(key, sizeof(key), "testing/%s", random);
    const struct bytes data = {(const uint8_t *)random, strlen(random)};
    const uint64_t until = clock_deadline(STORE_MS);
    if (store_put(bucket, key, data, until, e) ||
        store_get(bucket, key, 0, STORE_TO_END, &back, until, e))
        return e->code;
    if (back.size != data.size || memcmp(back.data, data.data, data.size) != 0)
        return err_fail(e, RC_CORRUPT, "the bucket gives back other bytes than it was given");
    return store_remove(bucket, key, until, e);
}

static enum rc check_storage(const struct format *f, struct err *e)
{
    char prefix[STORE_KEY_MAX];
    struct store *bucket = NULL;
    snprintf(prefix, sizeof(prefix), "%s/", f->name);
    const struct stack_options stack = {
        .storage = f->storage,
        .bucket = f->bucket,
        .prefix = prefix,
        .shards = f->shards,
        .encrypt_pem = f->encrypt_key,
        .encrypt_passphrase = getenv("JFS_RSA_PASSPHRASE"),
        .encrypt_algo = f->encrypt_algo,
        .max_tries = 2,
        .missing = BUCKET_MUST_EXIST,
    };
    enum rc rc = stack_open(&bucket, &stack, e);
    if (!rc)
        rc = try_object(bucket, f->uuid, e);
    store_close(&bucket);
    if (!rc)
        return RC_OK;
    err_note(e, "bucket \"%s\"", f->bucket);
    return err_exits(e, EXIT_STORE);
}

static enum rc check_limits(struct config_job *job, const struct format *f, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (pg_call(job->pg, "SELECT * FROM tarn_1.statfs()", NULL, 0, soon(), &r, e))
        return e->code;
    const int64_t space = pg_get_int8(r, 0, pg_column(r, "used_space"));
    const int64_t inodes = pg_get_int8(r, 0, pg_column(r, "used_inodes"));
    if ((!f->capacity || space < (int64_t)f->capacity) &&
        (!f->inodes || inodes < (int64_t)f->inodes))
        return RC_OK;
    fprintf(stderr,
            "The new limits are used up already: %" PRId64 " of %" PRIu64 " bytes, %" PRId64
            " of %" PRIu64 " inodes.\n",
            space, f->capacity, inodes, f->inodes);
    return confirm(job, e);
}

static enum rc check_dir_quotas(struct config_job *job, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    const struct pg_param params[] = {pg_int4(0), pg_null(20)};
    if (pg_call(job->pg, "SELECT * FROM tarn_1.quotas($1,$2)", params, 2, soon(), &r, e))
        return e->code;
    if (pg_rows(r) == 0)
        return RC_OK;
    return err_fail(e, RC_INVALID,
                    "directory statistics are needed by the quotas of %d directories; delete those "
                    "first (tarn quota list)",
                    pg_rows(r));
}

static bool is_outside(const char *version, const struct format *f)
{
    struct err ignored = ERR_INIT;
    int order = 0;
    if (f->min_client &&
        format_version_compare(version, f->min_client, &order, &ignored) == RC_OK && order < 0)
        return true;
    return f->max_client &&
           format_version_compare(version, f->max_client, &order, &ignored) == RC_OK && order > 0;
}

/* Name a session whose client will be locked out, or whose version cannot be read. */
static bool warn_of_session(struct bytes info, const struct format *f)
{
    struct err ignored = ERR_INIT;
    auto_json struct json *about = NULL;
    if (json_parse(info, &about, &ignored))
        return false;
    const char *version = json_get_string(about, "Version", "");
    if (!is_outside(version, f))
        return false;
    fprintf(stderr, "host %s pid %" PRId64 " has version %s and will be locked out\n",
            json_get_string(about, "HostName", "?"), json_get_int(about, "ProcessID", 0), version);
    return true;
}

static enum rc check_clients(struct config_job *job, const struct format *f, struct err *e)
{
    auto_result struct pg_result *r = NULL;
    if (pg_call(job->pg, "SELECT * FROM tarn_1.sessions()", NULL, 0, soon(), &r, e))
        return e->code;
    bool is_anybody = false;
    for (int row = 0; row < pg_rows(r); row++)
        is_anybody |= warn_of_session(pg_get_bytes(r, row, pg_column(r, "info")), f);
    return is_anybody ? confirm(job, e) : RC_OK;
}

static enum rc check_parsed(struct config_job *job, const struct format *f, struct err *e)
{
    const unsigned touches = job->change.touches;
    if (touches & TOUCH_STORAGE && check_storage(f, e))
        return e->code;
    if (touches & TOUCH_LIMITS && check_limits(job, f, e))
        return e->code;
    return touches & TOUCH_CLIENTS ? check_clients(job, f, e) : RC_OK;
}

/* What the volume would be with the new row. */
static enum rc check_row(struct config_job *job, const struct buf *row, struct err *e)
{
    struct format *f = NULL;
    if (job->change.touches & TOUCH_STATS_OFF && check_dir_quotas(job, e))
        return e->code;
    if (job->change.touches & TOUCH_TRASH_OFF) {
        fputs("The trash will be emptied, and files deleted from now on are gone at once.\n",
              stderr);
        if (confirm(job, e))
            return e->code;
    }
    /* Secrets that a dump left out stay so until somebody gives them. */
    const enum rc parsed = format_parse(buf_bytes(row), &f, e);
    if (parsed == RC_DENIED && !(job->change.touches & TOUCH_STORAGE)) {
        *e = ERR_INIT;
        return RC_OK;
    }
    if (parsed)
        return err_note(e, "with these settings");
    enum rc rc = check_parsed(job, f, e);
    format_free(&f);
    return rc;
}

/* ------------------------------------------------------------------------------------ changing */

/* Try the change on a copy of the row, and see what that would mean. */
static enum rc rehearse(struct config_job *job, struct err *e)
{
    auto_buf struct buf row;
    buf_init(&row, SETTINGS_BYTES_MAX);
    if (settings_read(job->pg, &row, soon(), e) || config_edit(&row, &job->change, e))
        return e->code;
    if (job->change.diff.size == 0 || job->o->force)
        return RC_OK;
    return check_row(job, &row, e);
}

static enum rc change(struct config_job *job, struct err *e)
{
    bool is_changed;
    if (rehearse(job, e))
        return e->code;
    if (job->change.diff.size == 0) {
        if (job->o->json)
            return show(job, e);
        puts("Nothing changed.");
        return RC_OK;
    }
    if (settings_change(job->pg, config_edit, &job->change, clock_deadline(COUNT_MS), &is_changed,
                        e))
        return e->code;
    if (job->o->json)
        return show(job, e);
    fwrite(job->change.diff.data, 1, job->change.diff.size, stdout);
    return RC_OK;
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    log_init("tarn", LOG_LEVEL_WARN, false);
    const struct config_options *o = into;
    struct config_job job = {.o = o, .change.encrypt_secret = o->encrypt_secret};
    bool is_changing = o->encrypt_secret;
    memcpy(job.change.given, o->given, sizeof(o->given));
    buf_init(&job.change.diff, DIFF_BYTES_MAX);
    for (int s = 0; s < SETTING_COUNT; s++)
        is_changing |= o->given[s] != NULL;
    enum rc rc = settings_connect(&job.pg, arguments[0], "tarn config", is_changing, soon(), e);
    if (!rc)
        rc = is_changing ? change(&job, e) : show(&job, e);
    pg_close(&job.pg);
    buf_deinit(&job.change.diff);
    return rc;
}

int command_config(int argc, char **argv)
{
    struct config_options o;
    return command_run(&command, &o, work, argc, argv);
}
