#include "fs/cli/config_edit.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/conf.h"
#include "fs/base/json.h"
#include "fs/cli/table.h"
#include "fs/meta/format.h"
#include "fs/meta/format_edit.h"

#define TRASH_DAYS_MAX    36500
#define CHANGE_LOG_AGE_S  7200 /* when the log is switched on without saying for how long */
#define ACL_CLIENT        "1.2.0-A"
#define VALUE_SHOWN_BYTES 64

enum kind { KIND_SIZE, KIND_NUMBER, KIND_MBPS, KIND_SECONDS, KIND_TEXT, KIND_SECRET, KIND_SWITCH };

static const struct {
    const char *option, *member;
    enum kind kind;
    bool stays; /* the member is written also when it is zero */
    unsigned touches;
} settings[SETTING_COUNT] = {
    [SET_CAPACITY] = {"capacity", "Capacity", KIND_SIZE, false, TOUCH_LIMITS},
    [SET_INODES] = {"inodes", "Inodes", KIND_NUMBER, false, TOUCH_LIMITS},
    [SET_STORAGE] = {"storage", "Storage", KIND_TEXT, true, TOUCH_STORAGE},
    [SET_BUCKET] = {"bucket", "Bucket", KIND_TEXT, true, TOUCH_STORAGE},
    [SET_ACCESS_KEY] = {"access-key", "AccessKey", KIND_TEXT, false, TOUCH_STORAGE},
    [SET_SECRET_KEY] = {"secret-key", "SecretKey", KIND_SECRET, false, TOUCH_STORAGE},
    [SET_SESSION_TOKEN] = {"session-token", "SessionToken", KIND_SECRET, false, TOUCH_STORAGE},
    [SET_UPLOAD_LIMIT] = {"upload-limit", "UploadLimit", KIND_MBPS, false, 0},
    [SET_DOWNLOAD_LIMIT] = {"download-limit", "DownloadLimit", KIND_MBPS, false, 0},
    [SET_TRASH_DAYS] = {"trash-days", "TrashDays", KIND_NUMBER, true, 0},
    [SET_MIN_CLIENT] = {"min-client-version", "MinClientVersion", KIND_TEXT, false, TOUCH_CLIENTS},
    [SET_MAX_CLIENT] = {"max-client-version", "MaxClientVersion", KIND_TEXT, false, TOUCH_CLIENTS},
    [SET_DIR_STATS] = {"dir-stats", "DirStats", KIND_SWITCH, false, 0},
    [SET_OWNER_QUOTA] = {"user-group-quota", "UserGroupQuota", KIND_SWITCH, false, 0},
    [SET_ACL] = {"enable-acl", "EnableACL", KIND_SWITCH, true, 0},
    [SET_CHANGE_LOG] = {"changelog", "ChangeLog", KIND_SWITCH, false, 0},
    [SET_CHANGE_LOG_AGE] = {"changelog-max-age", "ChangeLogMaxAge", KIND_SECONDS, false, 0},
    [SET_CHANGE_LOG_LINES] = {"changelog-max-lines", "ChangeLogMaxLines", KIND_NUMBER, false, 0},
};

/* The edit of one row: its text, and what was in it before. */
struct edit {
    struct config_change *change;
    struct buf *row;
    const struct json *old;
};

/* ------------------------------------------------------------------------------------- numbers */

/* Mbit/s; M, G, T and P are powers of a thousand. */
static enum rc parse_mbps(const char *text, int64_t *out, struct err *e)
{
    static const char units[] = "MGTP";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end & ~0x20) : units;
    if (errno || end == text || !unit || (*end && end[1]) || !(value >= 0 && value < 1e12))
        return err_fail(e, RC_INVALID, "\"%s\" is no rate in Mbit/s", text);
    for (; unit > units; unit--)
        value *= 1000;
    *out = (int64_t)value;
    return RC_OK;
}

static enum rc parse_whole(const char *text, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno || end == text || *end || *out < 0)
        return err_fail(e, RC_INVALID, "\"%s\" is no number from 0 on", text);
    return RC_OK;
}

static enum rc parse_seconds(const char *text, int64_t *out, struct err *e)
{
    if (conf_parse_duration(text, 1000, out, e))
        return e->code;
    *out /= 1000;
    return RC_OK;
}

static enum rc parse_value(enum setting s, const char *text, int64_t *out, struct err *e)
{
    enum rc rc = RC_OK;
    switch (settings[s].kind) {
    case KIND_SIZE:
        rc = conf_parse_size(text, (int64_t)1 << 30, out, e);
        break;
    case KIND_MBPS:
        rc = parse_mbps(text, out, e);
        break;
    case KIND_SECONDS:
        rc = parse_seconds(text, out, e);
        break;
    default:
        rc = parse_whole(text, out, e);
    }
    if (!rc && s == SET_TRASH_DAYS && *out > TRASH_DAYS_MAX)
        rc = err_fail(e, RC_INVALID, "more than %d days", TRASH_DAYS_MAX);
    return rc ? err_note(e, "option --%s", settings[s].option) : RC_OK;
}

static void show_value(enum kind kind, int64_t value, char out[VALUE_SHOWN_BYTES])
{
    char text[HUMAN_BYTES];
    if (kind == KIND_SIZE)
        human_size(text, (uint64_t)value);
    else
        human_count(text, (uint64_t)value);
    snprintf(out, VALUE_SHOWN_BYTES, "%s%s", text,
             kind == KIND_MBPS      ? " Mbps"
             : kind == KIND_SECONDS ? "s"
                                    : "");
}

/* --------------------------------------------------------------------------------- one setting */

static enum rc note(struct edit *edit, enum setting s, const char *from, const char *to,
                    struct err *e)
{
    edit->change->touches |= settings[s].touches;
    return buf_addf(&edit->change->diff, e, "%18s: %s -> %s\n", settings[s].option, from, to);
}

static enum rc put_number(struct edit *edit, enum setting s, int64_t value, struct err *e)
{
    char from[VALUE_SHOWN_BYTES], to[VALUE_SHOWN_BYTES];
    const int64_t old = json_get_int(edit->old, settings[s].member, 0);
    if (value == old)
        return RC_OK;
    show_value(settings[s].kind, old, from);
    show_value(settings[s].kind, value, to);
    if (s == SET_TRASH_DAYS && value == 0)
        edit->change->touches |= TOUCH_TRASH_OFF;
    enum rc rc = value || settings[s].stays
                     ? format_edit_int(edit->row, settings[s].member, value, e)
                     : format_edit_remove(edit->row, settings[s].member, e);
    return rc ? rc : note(edit, s, from, to, e);
}

static enum rc put_text(struct edit *edit, enum setting s, const char *value, struct err *e)
{
    const char *old = json_get_string(edit->old, settings[s].member, "");
    if (strcmp(old, value) == 0)
        return RC_OK;
    enum rc rc = *value || settings[s].stays
                     ? format_edit_string(edit->row, settings[s].member, value, e)
                     : format_edit_remove(edit->row, settings[s].member, e);
    return rc ? rc : note(edit, s, *old ? old : "(none)", *value ? value : "(none)", e);
}

static enum rc put_switch(struct edit *edit, enum setting s, bool value, struct err *e)
{
    const bool old = json_get_bool(edit->old, settings[s].member, false);
    if (value == old)
        return RC_OK;
    if (s == SET_ACL && !value)
        return err_fail(e, RC_INVALID, "ACLs cannot be switched off again");
    if (s == SET_DIR_STATS && !value)
        edit->change->touches |= TOUCH_STATS_OFF;
    enum rc rc = value || settings[s].stays
                     ? format_edit_bool(edit->row, settings[s].member, value, e)
                     : format_edit_remove(edit->row, settings[s].member, e);
    return rc ? rc : note(edit, s, old ? "true" : "false", value ? "true" : "false", e);
}

/* ------------------------------------------------------------------------------------- secrets */

static enum rc check_wrapping(const struct json *old, struct err *e)
{
    if (strcmp(json_get_string(old, "EncryptAlgo", ""), "sm4gcm") == 0)
        return err_fail(e, RC_INVALID, "secrets of this volume are wrapped with SM4");
    return RC_OK;
}

static enum rc put_wrapped(struct edit *edit, const char *member, const char *value, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, FORMAT_WRAPPED_MAX);
    const char *wrapped;
    if (check_wrapping(edit->old, e) ||
        format_wrap_secret(json_get_string(edit->old, "UUID", ""), value, &text, e) ||
        buf_cstr(&text, &wrapped, e))
        return err_note(e, "could not wrap %s", member);
    return format_edit_string(edit->row, member, wrapped, e);
}

/* Secrets are always written: whether they are the same is nobody's to see. */
static enum rc put_secret(struct edit *edit, enum setting s, const char *value, struct err *e)
{
    const char *member = settings[s].member;
    enum rc rc;
    if (!*value)
        rc = format_edit_remove(edit->row, member, e);
    else if (json_get_bool(edit->old, "KeyEncrypted", false) || edit->change->encrypt_secret)
        rc = put_wrapped(edit, member, value, e);
    else
        rc = format_edit_string(edit->row, member, value, e);
    edit->change->touches |= settings[s].touches;
    return rc ? rc : buf_addf(&edit->change->diff, e, "%18s: updated\n", settings[s].option);
}

/* Wrap what stands in the row in plain. */
static enum rc wrap_plain(struct edit *edit, struct err *e)
{
    static const char *const members[] = {"SecretKey", "SessionToken", "EncryptKey"};
    const char *const *given = edit->change->given;
    bool has_any = given[SET_SECRET_KEY] || given[SET_SESSION_TOKEN];
    if (!edit->change->encrypt_secret || json_get_bool(edit->old, "KeyEncrypted", false))
        return RC_OK;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        const char *plain = json_get_string(edit->old, members[i], "");
        const bool is_given =
            (i == 0 && given[SET_SECRET_KEY]) || (i == 1 && given[SET_SESSION_TOKEN]);
        if (*plain && !is_given && put_wrapped(edit, members[i], plain, e))
            return e->code;
        has_any |= *plain != '\0';
    }
    if (!has_any)
        return RC_OK;
    if (format_edit_bool(edit->row, "KeyEncrypted", true, e))
        return e->code;
    return buf_addf(&edit->change->diff, e, "%18s: false -> true\n", "encrypt-secret");
}

/* --------------------------------------------------------------------------------- the others */

/* A directory is written down with its whole path and a slash. */
static enum rc put_bucket(struct edit *edit, const char *value, struct err *e)
{
    char here[PATH_MAX] = "", path[PATH_MAX];
    const char *storage = edit->change->given[SET_STORAGE];
    if (!storage)
        storage = json_get_string(edit->old, "Storage", "");
    if (strcmp(storage, "file") != 0 || !*value)
        return put_text(edit, SET_BUCKET, value, e);
    if (value[0] != '/' && !getcwd(here, sizeof(here)))
        return err_os(e, errno, "could not find the working directory");
    const int size = snprintf(path, sizeof(path), "%s%s%s%s", here, *here ? "/" : "", value,
                              value[strlen(value) - 1] == '/' ? "" : "/");
    if (size >= (int)sizeof(path))
        return err_fail(e, RC_INVALID, "the bucket's path is too long");
    return put_text(edit, SET_BUCKET, path, e);
}

/* Raise the least version of clients; one that is high enough already stays. */
static enum rc raise_min_client(struct edit *edit, const char *version, struct err *e)
{
    int order;
    const char *old = json_get_string(edit->old, "MinClientVersion", "");
    if (*old && format_version_compare(version, old, &order, e))
        return err_note(e, "MinClientVersion");
    return *old && order <= 0 ? RC_OK : put_text(edit, SET_MIN_CLIENT, version, e);
}

static enum rc put_version(struct edit *edit, enum setting s, const char *value, struct err *e)
{
    int order;
    struct err ignored = ERR_INIT; /* what stands there already may be unreadable */
    const char *old = json_get_string(edit->old, settings[s].member, "");
    if ((*value || s == SET_MIN_CLIENT) && format_version_compare(value, "1.0.0", &order, e))
        return err_note(e, "option --%s", settings[s].option);
    if (s == SET_MIN_CLIENT && *old &&
        format_version_compare(value, old, &order, &ignored) == RC_OK && order < 0)
        return err_fail(e, RC_INVALID, "cannot lower min-client-version from %s to %s", old, value);
    return put_text(edit, s, value, e);
}

static enum rc put(struct edit *edit, enum setting s, const char *value, struct err *e)
{
    int64_t number = 0;
    if (s == SET_BUCKET)
        return put_bucket(edit, value, e);
    if (s == SET_MIN_CLIENT || s == SET_MAX_CLIENT)
        return put_version(edit, s, value, e);
    switch (settings[s].kind) {
    case KIND_TEXT:
        return put_text(edit, s, value, e);
    case KIND_SECRET:
        return put_secret(edit, s, value, e);
    case KIND_SWITCH:
        return put_switch(edit, s, strcmp(value, "true") == 0, e);
    default:
        return parse_value(s, value, &number, e) ? e->code : put_number(edit, s, number, e);
    }
}

/* What some settings bring with them. */
static enum rc put_consequences(struct edit *edit, struct err *e)
{
    const char *const *given = edit->change->given;
    if (given[SET_ACL] && strcmp(given[SET_ACL], "true") == 0 && !given[SET_MIN_CLIENT] &&
        !json_get_bool(edit->old, "EnableACL", false) && raise_min_client(edit, ACL_CLIENT, e))
        return e->code;
    if (given[SET_CHANGE_LOG] && strcmp(given[SET_CHANGE_LOG], "true") == 0 &&
        !given[SET_CHANGE_LOG_AGE] && json_get_int(edit->old, "ChangeLogMaxAge", 0) == 0 &&
        !json_get_bool(edit->old, "ChangeLog", false))
        return put_number(edit, SET_CHANGE_LOG_AGE, CHANGE_LOG_AGE_S, e);
    return RC_OK;
}

enum rc config_edit(struct buf *row, void *change, struct err *e)
{
    auto_json struct json *old = NULL;
    struct edit edit = {change, row, NULL};
    if (json_parse(buf_bytes(row), &old, e))
        return err_note(e, "the format row is not JSON");
    edit.old = old;
    edit.change->touches = 0;
    buf_clear(&edit.change->diff);
    for (int s = 0; s < SETTING_COUNT; s++)
        if (edit.change->given[s] && put(&edit, (enum setting)s, edit.change->given[s], e))
            return e->code;
    return put_consequences(&edit, e) ? e->code : wrap_plain(&edit, e);
}
