#include <string.h>

#include "fs/base/crypto.h"
#include "fs/base/json.h"
#include "fs/meta/format.h"

#define WRAPPED_BYTES_MAX   ((size_t)64 << 10)
#define NAME_MIN            3
#define NAME_MAX_CHARACTERS 63

/* Clients older than this do not know what every new volume has (dir stats). */
static const char oldest_client[] = "1.1.0-A";
static const char oldest_client_with_acls[] = "1.2.0-A";

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static enum rc check_name(const char *name, struct err *e)
{
    size_t size = strlen(name);
    bool is_good = size >= NAME_MIN && size <= NAME_MAX_CHARACTERS && is_name_character(name[0]) &&
                   is_name_character(name[size - 1]);
    for (size_t i = 0; i < size && is_good; i++)
        is_good = is_name_character(name[i]) || name[i] == '-';
    if (!is_good)
        return err_fail(e, RC_INVALID,
                        "volume name \"%s\" must be 3 to 63 of a-z, 0-9 and inner \"-\"", name);
    return RC_OK;
}

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* How often text has the piece in it, not overlapping. */
static unsigned occurrences(const char *text, const char *piece)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, piece)) != NULL; at += strlen(piece))
        n++;
    return n;
}

static enum rc check_bucket(const struct format_request *r, struct err *e)
{
    if (!r->storage || !*r->storage || !r->bucket || !*r->bucket)
        return err_fail(e, RC_INVALID, "a volume needs a storage and a bucket");
    if (strcmp(r->storage, "file") == 0 &&
        (r->bucket[0] != '/' || r->bucket[strlen(r->bucket) - 1] != '/'))
        return err_fail(e, RC_INVALID,
                        "bucket \"%s\" must be an absolute path that ends with \"/\"", r->bucket);
    if (r->shards > 256)
        return err_fail(e, RC_INVALID, "%u shards are more than 256", r->shards);
    if (r->shards > 1 && occurrences(r->bucket, "%d") != 1)
        return err_fail(e, RC_INVALID, "the bucket of a sharded volume must hold \"%%d\" once");
    return RC_OK;
}

static enum rc check_request(const struct format_request *r, struct err *e)
{
    static const char *const codecs[] = {"none", "lz4", "zstd"};
    static const char *const algorithms[] = {"aes256gcm-rsa", "chacha20-rsa"};
    if (check_name(r->name, e) || check_bucket(r, e))
        return e->code;
    if (r->block_kib < 64 || r->block_kib > 16384 || (r->block_kib & (r->block_kib - 1)))
        return err_fail(e, RC_INVALID,
                        "a block size of %u KiB is not a power of two from 64 to 16384",
                        r->block_kib);
    if (r->compression && !is_one_of(r->compression, codecs, 3))
        return err_fail(e, RC_INVALID, "compression \"%s\" is not none, lz4 or zstd",
                        r->compression);
    if (r->encrypt_algo && !is_one_of(r->encrypt_algo, algorithms, 2))
        return err_fail(e, RC_INVALID, "encryption \"%s\" is not aes256gcm-rsa or chacha20-rsa",
                        r->encrypt_algo);
    return RC_OK;
}

static bool is_given(const char *text)
{
    return text && *text;
}

/* base64(nonce ‖ sealed secret ‖ tag) under MD5(UUID). */
enum rc format_wrap_secret(const char *uuid, const char *secret, struct buf *out, struct err *e)
{
    uint8_t key[16], nonce[CRYPTO_NONCE_BYTES];
    auto_buf struct buf wrapped;
    buf_init(&wrapped, WRAPPED_BYTES_MAX);
    struct bytes plain = {(const uint8_t *)secret, strlen(secret)};
    struct bytes uuid_bytes = {(const uint8_t *)uuid, strlen(uuid)};
    if (crypto_md5(uuid_bytes, key, e) || crypto_random(nonce, sizeof(nonce), e) ||
        buf_add(&wrapped, nonce, sizeof(nonce), e) ||
        crypto_seal(CRYPTO_AES_128_GCM, key, nonce, plain, &wrapped, e))
        return e->code;
    return crypto_base64_encode(buf_bytes(&wrapped), out, e);
}

/* Set the member to the wrapped secret, unless that is empty. */
static enum rc set_secret(struct json *row, const char *name, const char *uuid, const char *secret,
                          struct err *e)
{
    if (!is_given(secret))
        return RC_OK;
    auto_buf struct buf text;
    buf_init(&text, FORMAT_WRAPPED_MAX);
    const char *value;
    if (format_wrap_secret(uuid, secret, &text, e) || buf_cstr(&text, &value, e))
        return err_note(e, "could not wrap %s", name);
    return json_set_string(row, name, value, e);
}

static enum rc set_tiers(struct json *row, struct err *e)
{
    auto_json struct json *tiers = json_object_new();
    auto_json struct json *tier = json_object_new();
    if (!tiers || !tier)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (json_set_int(tier, "ID", 0, e) || json_set_string(tier, "StorageClass", "", e) ||
        json_set_string(tier, "Tag", "", e) || json_set(tiers, "0", &tier, e))
        return e->code;
    return json_set(row, "Tiers", &tiers, e);
}

/* Members that vanish when they are zero. */
static enum rc set_nonzero(struct json *row, const char *name, uint64_t value, struct err *e)
{
    return value ? json_set_int(row, name, (int64_t)value, e) : RC_OK;
}

static enum rc set_head(struct json *row, const struct format_request *r, const char *uuid,
                        struct err *e)
{
    if (json_set_string(row, "Name", r->name, e) || json_set_string(row, "UUID", uuid, e) ||
        json_set_string(row, "Storage", r->storage, e) || set_tiers(row, e) ||
        json_set_string(row, "Bucket", r->bucket, e))
        return e->code;
    if (is_given(r->access_key) && json_set_string(row, "AccessKey", r->access_key, e))
        return e->code;
    if (set_secret(row, "SecretKey", uuid, r->secret_key, e))
        return e->code;
    return set_secret(row, "SessionToken", uuid, r->session_token, e);
}

static enum rc set_layout(struct json *row, const struct format_request *r, struct err *e)
{
    const char *compression = r->compression ? r->compression : "none";
    if (json_set_int(row, "BlockSize", r->block_kib, e) ||
        json_set_string(row, "Compression", compression, e) ||
        set_nonzero(row, "Shards", r->shards, e))
        return e->code;
    if (r->hash_prefix && json_set_bool(row, "HashPrefix", true, e))
        return e->code;
    if (set_nonzero(row, "Capacity", r->capacity, e))
        return e->code;
    return set_nonzero(row, "Inodes", r->inodes, e);
}

static enum rc set_tail(struct json *row, const struct format_request *r, const char *uuid,
                        struct err *e)
{
    const char *algorithm = r->encrypt_algo ? r->encrypt_algo : "aes256gcm-rsa";
    bool has_secret =
        is_given(r->secret_key) || is_given(r->session_token) || is_given(r->encrypt_key_pem);
    if (set_secret(row, "EncryptKey", uuid, r->encrypt_key_pem, e) ||
        json_set_string(row, "EncryptAlgo", algorithm, e))
        return e->code;
    if (has_secret && json_set_bool(row, "KeyEncrypted", true, e))
        return e->code;
    if (json_set_int(row, "TrashDays", r->trash_days, e) ||
        json_set_int(row, "MetaVersion", 1, e) ||
        json_set_string(row, "MinClientVersion",
                        r->enable_acl ? oldest_client_with_acls : oldest_client, e) ||
        json_set_bool(row, "DirStats", true, e))
        return e->code;
    return json_set_bool(row, "EnableACL", r->enable_acl, e);
}

/* Members come in the order of the stock client's structure. */
enum rc format_compose(const struct format_request *request, struct buf *out, struct err *e)
{
    char uuid[37];
    if (check_request(request, e) || crypto_uuid4(uuid, e))
        return e->code;
    auto_json struct json *row = json_object_new();
    if (!row)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    if (set_head(row, request, uuid, e) || set_layout(row, request, e) ||
        set_tail(row, request, uuid, e))
        return e->code;
    return json_write(row, JSON_LINES, out, e);
}
