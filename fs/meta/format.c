#include "fs/meta/format.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/crypto.h"
#include "fs/base/json.h"

#define META_VERSION_MAX 1
#define BLOCK_KIB_MIN    64
#define BLOCK_KIB_MAX    16384
#define SHARDS_MAX       256
#define SECRET_BYTES_MAX (64 << 10)
#define UUID_CHARACTERS  36

const char format_client_version[] = "1.4.1";

/* What a dump without secrets puts in their place. */
static const char removed[] = "removed";

struct version {
    long part[3];
    const char *pre; /* pre-release; "" is the release itself, which is newest */
    size_t pre_size;
};

/* "1.4.1", "1.1.0-A", "1.5.0-dev+2026-08-21.a6a0299b": the build part does not count. */
static enum rc version_parse(const char *text, struct version *out, struct err *e)
{
    const char *at = text;
    for (int i = 0; i < 3; i++) {
        char *end = NULL;
        bool is_digit = *at >= '0' && *at <= '9';
        out->part[i] = is_digit ? strtol(at, &end, 10) : -1;
        if (!is_digit || (i < 2 && *end != '.'))
            return err_fail(e, RC_INVALID, "not a version: \"%s\"", text);
        at = i < 2 ? end + 1 : end;
    }
    if (*at && *at != '-' && *at != '+')
        return err_fail(e, RC_INVALID, "not a version: \"%s\"", text);
    out->pre = *at == '-' ? at + 1 : "";
    out->pre_size = strcspn(out->pre, "+");
    return RC_OK;
}

static int compare_pre(const struct version *a, const struct version *b)
{
    if (a->pre_size == 0 || b->pre_size == 0)
        return (a->pre_size == 0) - (b->pre_size == 0);
    size_t common = a->pre_size < b->pre_size ? a->pre_size : b->pre_size;
    int order = memcmp(a->pre, b->pre, common);
    return order ? order : (a->pre_size > b->pre_size) - (a->pre_size < b->pre_size);
}

enum rc format_version_compare(const char *a, const char *b, int *out, struct err *e)
{
    struct version x, y;
    if (version_parse(a, &x, e) || version_parse(b, &y, e))
        return e->code;
    for (int i = 0; i < 3; i++)
        if (x.part[i] != y.part[i]) {
            *out = x.part[i] < y.part[i] ? -1 : 1;
            return RC_OK;
        }
    *out = compare_pre(&x, &y);
    return RC_OK;
}

/* A heap copy of a string member. Absent or empty: NULL when it is optional, else "". */
static enum rc copy_string(const struct json *from, const char *name, bool is_optional, char **out,
                           struct err *e)
{
    const char *value = json_get_string(from, name, "");
    if (!*value && is_optional)
        return RC_OK;
    *out = strdup(value);
    return *out ? RC_OK : err_fail(e, RC_NO_SPACE, "out of memory");
}

static enum rc copy_strings(const struct json *from, struct format *f, struct err *e)
{
    if (copy_string(from, "Name", false, &f->name, e) ||
        copy_string(from, "UUID", false, &f->uuid, e) ||
        copy_string(from, "Storage", false, &f->storage, e) ||
        copy_string(from, "Bucket", false, &f->bucket, e) ||
        copy_string(from, "AccessKey", true, &f->access_key, e) ||
        copy_string(from, "SecretKey", true, &f->secret_key, e) ||
        copy_string(from, "SessionToken", true, &f->session_token, e) ||
        copy_string(from, "Compression", false, &f->compression, e) ||
        copy_string(from, "EncryptKey", true, &f->encrypt_key, e) ||
        copy_string(from, "EncryptAlgo", true, &f->encrypt_algo, e) ||
        copy_string(from, "MinClientVersion", true, &f->min_client, e) ||
        copy_string(from, "MaxClientVersion", true, &f->max_client, e))
        return e->code;
    /* Since 1.4 the default class is that of tier 0. */
    const struct json *tiers = json_get(from, "Tiers");
    const struct json *tier = tiers ? json_get(tiers, "0") : NULL;
    return copy_string(tier ? tier : from, "StorageClass", true, &f->storage_class, e);
}

static bool is_power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static enum rc read_layout(const struct json *from, struct format *f, struct err *e)
{
    int64_t block_kib = json_get_int(from, "BlockSize", 4096);
    int64_t shards = json_get_int(from, "Shards", 0);
    if (!is_power_of_two(block_kib) || block_kib < BLOCK_KIB_MIN || block_kib > BLOCK_KIB_MAX)
        return err_fail(e, RC_INVALID, "format: a BlockSize of %lld KiB", (long long)block_kib);
    if (shards < 0 || shards > SHARDS_MAX)
        return err_fail(e, RC_INVALID, "format: %lld Shards", (long long)shards);
    f->block_bytes = (uint32_t)block_kib << 10;
    f->shards = (uint32_t)shards;
    f->hash_prefix = json_get_bool(from, "HashPrefix", false);
    return RC_OK;
}

static enum rc read_numbers(const struct json *from, struct format *f, struct err *e)
{
    int64_t capacity = json_get_int(from, "Capacity", 0);
    int64_t inodes = json_get_int(from, "Inodes", 0);
    int64_t trash_days = json_get_int(from, "TrashDays", 0);
    int64_t meta_version = json_get_int(from, "MetaVersion", 0);
    if (capacity < 0 || inodes < 0 || trash_days < 0 || trash_days > UINT32_MAX)
        return err_fail(e, RC_INVALID, "format: a negative limit");
    if (meta_version < 0 || meta_version > META_VERSION_MAX)
        return err_fail(e, RC_INVALID,
                        "the volume has MetaVersion %lld, of which this client knows "
                        "nothing",
                        (long long)meta_version);
    f->capacity = (uint64_t)capacity;
    f->inodes = (uint64_t)inodes;
    f->trash_days = (uint32_t)trash_days;
    f->meta_version = (int)meta_version;
    f->upload_limit = json_get_int(from, "UploadLimit", 0);
    f->download_limit = json_get_int(from, "DownloadLimit", 0);
    f->dir_stats = json_get_bool(from, "DirStats", false);
    f->user_group_quota = json_get_bool(from, "UserGroupQuota", false);
    f->enable_acl = json_get_bool(from, "EnableACL", false);
    f->change_log = json_get_bool(from, "ChangeLog", false);
    return read_layout(from, f, e);
}

static enum rc check_identity(const struct format *f, struct err *e)
{
    if (!*f->name || !*f->storage)
        return err_fail(e, RC_INVALID, "format: no Name or no Storage");
    if (strlen(f->uuid) != UUID_CHARACTERS)
        return err_fail(e, RC_INVALID, "format: \"%s\" is not a UUID", f->uuid);
    const char *known[] = {"", "none", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(f->compression, known[i]) == 0)
            return RC_OK;
    return err_fail(e, RC_INVALID, "format: Compression \"%s\" is not known", f->compression);
}

static enum rc check_clients(const struct format *f, struct err *e)
{
    int order = 0;
    if (f->min_client && format_version_compare(format_client_version, f->min_client, &order, e))
        return err_note(e, "format: MinClientVersion");
    if (order < 0)
        return err_fail(e, RC_INVALID, "the volume asks for clients from version %s, we are as %s",
                        f->min_client, format_client_version);
    order = 0;
    if (f->max_client && format_version_compare(format_client_version, f->max_client, &order, e))
        return err_note(e, "format: MaxClientVersion");
    if (order > 0)
        return err_fail(e, RC_INVALID, "the volume asks for clients up to version %s, we are as %s",
                        f->max_client, format_client_version);
    return RC_OK;
}

/* Free a string with a secret in it. */
static void drop_secret(char **secret)
{
    if (*secret)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

/* base64(nonce ‖ AES-128-GCM(secret) ‖ tag) under MD5(UUID); replaces *secret. */
static enum rc unwrap(const char *name, const uint8_t key[16], char **secret, struct err *e)
{
    if (!*secret)
        return RC_OK;
    auto_buf struct buf wrapped, plain;
    buf_init(&wrapped, SECRET_BYTES_MAX);
    buf_init(&plain, SECRET_BYTES_MAX);
    if (crypto_base64_decode(*secret, &wrapped, e) || wrapped.size < CRYPTO_NONCE_BYTES)
        return err_fail(e, RC_DENIED, "format: %s is not wrapped as it should be", name);
    struct bytes sealed = {wrapped.data + CRYPTO_NONCE_BYTES, wrapped.size - CRYPTO_NONCE_BYTES};
    const char *text;
    if (crypto_unseal(CRYPTO_AES_128_GCM, key, wrapped.data, sealed, &plain, e) ||
        buf_cstr(&plain, &text, e))
        return err_fail(e, RC_DENIED, "format: %s does not unwrap with the volume's UUID", name);
    char *copy = strdup(text);
    explicit_bzero(plain.data, plain.size);
    if (!copy)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    drop_secret(secret);
    *secret = copy;
    return RC_OK;
}

static enum rc check_removed(const char *name, const char *secret, struct err *e)
{
    if (secret && strcmp(secret, removed) == 0)
        return err_fail(e, RC_DENIED, "format: %s was removed when the metadata was dumped", name);
    return RC_OK;
}

static enum rc open_secrets(const struct json *from, struct format *f, struct err *e)
{
    if (check_removed("SecretKey", f->secret_key, e) ||
        check_removed("SessionToken", f->session_token, e) ||
        check_removed("EncryptKey", f->encrypt_key, e))
        return e->code;
    if (!json_get_bool(from, "KeyEncrypted", false))
        return RC_OK;
    uint8_t key[16];
    struct bytes uuid = {(const uint8_t *)f->uuid, strlen(f->uuid)};
    if (f->encrypt_algo && strcmp(f->encrypt_algo, "sm4gcm") == 0)
        return err_fail(e, RC_DENIED, "format: secrets wrapped with SM4 cannot be unwrapped");
    if (crypto_md5(uuid, key, e) || unwrap("SecretKey", key, &f->secret_key, e) ||
        unwrap("SessionToken", key, &f->session_token, e))
        return e->code;
    return unwrap("EncryptKey", key, &f->encrypt_key, e);
}

enum rc format_parse(struct bytes json, struct format **out, struct err *e)
{
    auto_json struct json *row = NULL;
    if (json_parse(json, &row, e))
        return err_note(e, "the format row is not JSON");
    struct format *f = calloc(1, sizeof(*f));
    if (!f)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (copy_strings(row, f, e) || read_numbers(row, f, e) || check_identity(f, e) ||
        check_clients(f, e) || open_secrets(row, f, e)) {
        format_free(&f);
        return e->code;
    }
    *out = f;
    return RC_OK;
}

void format_free(struct format **format)
{
    struct format *f = *format;
    if (!f)
        return;
    drop_secret(&f->secret_key);
    drop_secret(&f->session_token);
    drop_secret(&f->encrypt_key);
    char *rest[] = {f->name,       f->uuid,          f->storage,     f->bucket,
                    f->access_key, f->storage_class, f->compression, f->encrypt_algo,
                    f->min_client, f->max_client};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
        free(rest[i]);
    free(f);
    *format = NULL;
}
