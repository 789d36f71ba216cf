#include "fs/store/envelope.h"

#include <string.h>

#include "fs/base/wire.h"

/* The OAEP label of every wrapped data key. */
#define KEY_LABEL     BYTES_OF("keys")
#define KEY_BYTES_MAX 32

enum rc envelope_algorithm(const char *name, enum crypto_aead *out, struct err *e)
{
    if (!name || name[0] == 0 || strcmp(name, "aes256gcm-rsa") == 0)
        *out = CRYPTO_AES_256_GCM;
    else if (strcmp(name, "chacha20-rsa") == 0)
        *out = CRYPTO_CHACHA20_POLY1305;
    else
        return err_fail(e, RC_INVALID, "encryption \"%.64s\" is not supported", name);
    return RC_OK;
}

enum rc envelope_parse(struct bytes object, struct envelope *out, struct err *e)
{
    struct wire_reader r = wire_reader(object);
    size_t wrapped_bytes = wire_read_u16(&r);
    struct bytes nonce_bytes = wire_read_bytes(&r, 1);
    if (r.is_short || nonce_bytes.data[0] != CRYPTO_NONCE_BYTES)
        return err_fail(e, RC_CORRUPT, "%zu bytes are no encrypted object", object.size);

    struct bytes wrapped = wire_read_bytes(&r, wrapped_bytes);
    struct bytes nonce = wire_read_bytes(&r, CRYPTO_NONCE_BYTES);
    bool has_key = wrapped_bytes > 0 && wrapped_bytes <= ENVELOPE_WRAPPED_MAX;
    if (r.is_short || !has_key || r.left < CRYPTO_TAG_BYTES)
        return err_fail(e, RC_CORRUPT, "%zu bytes are no encrypted object", object.size);

    *out = (struct envelope){
        .wrapped = wrapped,
        .nonce = nonce.data,
        .sealed = {r.at, r.left},
    };
    return RC_OK;
}

static enum rc add_header(struct bytes wrapped, const uint8_t nonce[CRYPTO_NONCE_BYTES],
                          struct buf *out, struct err *e)
{
    uint8_t head[3] = {0, 0, CRYPTO_NONCE_BYTES};
    wire_put_u16(head, (uint16_t)wrapped.size);
    enum rc rc = buf_add(out, head, sizeof(head), e);
    if (rc == RC_OK)
        rc = buf_add(out, wrapped.data, wrapped.size, e);
    if (rc == RC_OK)
        rc = buf_add(out, nonce, CRYPTO_NONCE_BYTES, e);
    return rc;
}

enum rc envelope_seal(const struct crypto_rsa *key, enum crypto_aead algorithm, struct bytes plain,
                      struct buf *out, struct err *e)
{
    uint8_t data_key[KEY_BYTES_MAX], nonce[CRYPTO_NONCE_BYTES];
    const size_t key_bytes = crypto_key_bytes(algorithm);
    auto_buf struct buf wrapped;
    buf_init(&wrapped, ENVELOPE_WRAPPED_MAX);

    enum rc rc = crypto_random(data_key, key_bytes, e);
    if (rc == RC_OK)
        rc = crypto_random(nonce, sizeof(nonce), e);
    if (rc == RC_OK)
        rc = crypto_rsa_wrap(key, KEY_LABEL, (struct bytes){data_key, key_bytes}, &wrapped, e);
    if (rc == RC_OK)
        rc = add_header(buf_bytes(&wrapped), nonce, out, e);
    if (rc == RC_OK)
        rc = crypto_seal(algorithm, data_key, nonce, plain, out, e);
    explicit_bzero(data_key, sizeof(data_key));
    return rc;
}

/* Whatever the crypto finds wrong in an object is damage, unless it is our memory. */
static enum rc as_damage(enum rc rc, struct err *e)
{
    if (rc == RC_OK || rc == RC_NO_SPACE)
        return rc;
    e->code = RC_CORRUPT;
    return err_note(e, "encrypted object is damaged or sealed under another key");
}

enum rc envelope_open(const struct crypto_rsa *key, enum crypto_aead algorithm, struct bytes object,
                      struct buf *out, struct err *e)
{
    struct envelope parts;
    enum rc rc = envelope_parse(object, &parts, e);
    if (rc)
        return rc;

    auto_buf struct buf data_key;
    buf_init(&data_key, ENVELOPE_WRAPPED_MAX);
    rc = crypto_rsa_unwrap(key, KEY_LABEL, parts.wrapped, &data_key, e);
    if (rc == RC_OK && data_key.size != crypto_key_bytes(algorithm))
        rc = err_fail(e, RC_CORRUPT, "data key has %zu bytes", data_key.size);
    if (rc == RC_OK)
        rc = crypto_unseal(algorithm, data_key.data, parts.nonce, parts.sealed, out, e);
    if (data_key.data)
        explicit_bzero(data_key.data, data_key.capacity);
    return as_damage(rc, e);
}
