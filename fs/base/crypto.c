#include "fs/base/crypto.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

/* Release by scope for OpenSSL's objects. */
#define CLEANUP(type, name, release)                                                               \
    static void name(type **object)                                                                \
    {                                                                                              \
        release(*object);                                                                          \
    }
CLEANUP(EVP_CIPHER_CTX, cipher_ctx_end, EVP_CIPHER_CTX_free)
CLEANUP(EVP_PKEY_CTX, pkey_ctx_end, EVP_PKEY_CTX_free)
CLEANUP(EVP_PKEY, pkey_end, EVP_PKEY_free)
CLEANUP(BIO, bio_end, BIO_free_all)
#undef CLEANUP

#define auto_cipher_ctx __attribute__((cleanup(cipher_ctx_end)))
#define auto_pkey_ctx   __attribute__((cleanup(pkey_ctx_end)))
#define auto_pkey       __attribute__((cleanup(pkey_end)))
#define auto_bio        __attribute__((cleanup(bio_end)))

/* OpenSSL's queue is per thread and never empties itself: take the reason, forget the rest. */
static enum rc fail(struct err *e, enum rc code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    err_fail(e, code, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
    return code;
}

enum rc crypto_random(void *out, size_t size, struct err *e)
{
    if (size > INT_MAX || RAND_bytes(out, (int)size) != 1)
        return fail(e, RC_IO, "could not get random bytes");
    return RC_OK;
}

enum rc crypto_uuid4(char out[37], struct err *e)
{
    uint8_t b[16];
    if (crypto_random(b, sizeof(b), e))
        return e->code;
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    (void)snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
    return RC_OK;
}

static enum rc digest(const EVP_MD *algorithm, struct bytes in, uint8_t *out, struct err *e)
{
    if (EVP_Digest(in.data, in.size, out, NULL, algorithm, NULL) != 1)
        return fail(e, RC_IO, "could not compute a digest");
    return RC_OK;
}

enum rc crypto_md5(struct bytes in, uint8_t out[16], struct err *e)
{
    return digest(EVP_md5(), in, out, e);
}

enum rc crypto_sha256(struct bytes in, uint8_t out[32], struct err *e)
{
    return digest(EVP_sha256(), in, out, e);
}

static const EVP_CIPHER *cipher_of(enum crypto_aead algorithm)
{
    switch (algorithm) {
    case CRYPTO_AES_128_GCM:
        return EVP_aes_128_gcm();
    case CRYPTO_AES_256_GCM:
        return EVP_aes_256_gcm();
    case CRYPTO_CHACHA20_POLY1305:
        return EVP_chacha20_poly1305();
    }
    return NULL;
}

size_t crypto_key_bytes(enum crypto_aead algorithm)
{
    return (size_t)EVP_CIPHER_get_key_length(cipher_of(algorithm));
}

enum rc crypto_seal(enum crypto_aead algorithm, const uint8_t *key,
                    const uint8_t nonce[CRYPTO_NONCE_BYTES], struct bytes plain, struct buf *out,
                    struct err *e)
{
    if (plain.size > INT_MAX - CRYPTO_TAG_BYTES)
        return err_fail(e, RC_INVALID, "%zu bytes are too many to encrypt at once", plain.size);
    if (buf_reserve(out, plain.size + CRYPTO_TAG_BYTES, e))
        return err_note(e, "could not encrypt");

    uint8_t *to = out->data + out->size;
    int done = 0;
    int last = 0;
    auto_cipher_ctx EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_EncryptInit_ex2(ctx, cipher_of(algorithm), key, nonce, NULL) != 1 ||
        (plain.size > 0 && EVP_EncryptUpdate(ctx, to, &done, plain.data, (int)plain.size) != 1) ||
        EVP_EncryptFinal_ex(ctx, to + done, &last) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES, to + plain.size) != 1)
        return fail(e, RC_IO, "could not encrypt");
    out->size += plain.size + CRYPTO_TAG_BYTES;
    return RC_OK;
}

enum rc crypto_unseal(enum crypto_aead algorithm, const uint8_t *key,
                      const uint8_t nonce[CRYPTO_NONCE_BYTES], struct bytes sealed, struct buf *out,
                      struct err *e)
{
    if (sealed.size < CRYPTO_TAG_BYTES || sealed.size > INT_MAX)
        return err_fail(e, RC_CORRUPT, "%zu encrypted bytes cannot be right", sealed.size);
    size_t size = sealed.size - CRYPTO_TAG_BYTES;
    if (buf_reserve(out, size + 1, e))
        return err_note(e, "could not decrypt");

    uint8_t tag[CRYPTO_TAG_BYTES];
    memcpy(tag, sealed.data + size, sizeof(tag));
    uint8_t *to = out->data + out->size;
    int done = 0;
    int last = 0;
    auto_cipher_ctx EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_DecryptInit_ex2(ctx, cipher_of(algorithm), key, nonce, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) != 1 ||
        (size > 0 && EVP_DecryptUpdate(ctx, to, &done, sealed.data, (int)size) != 1))
        return fail(e, RC_IO, "could not decrypt");
    if (EVP_DecryptFinal_ex(ctx, to + done, &last) != 1) {
        /* What was decrypted before the tag was known to be wrong is nobody's to read. */
        OPENSSL_cleanse(to, size);
        return fail(e, RC_CORRUPT, "encrypted bytes do not match their tag");
    }
    out->size += size;
    return RC_OK;
}

struct crypto_rsa {
    EVP_PKEY *key;
};

struct passphrase {
    const char *text;
    bool was_asked_for;
};

/* OpenSSL asks only for keys that are encrypted; without an answer here it would ask the terminal.
 */
static int give_passphrase(char *out, int size, int is_writing, void *arg)
{
    struct passphrase *passphrase = arg;
    (void)is_writing;
    passphrase->was_asked_for = true;
    size_t length = passphrase->text ? strlen(passphrase->text) : 0;
    if (length == 0 || length > (size_t)size)
        return -1;
    memcpy(out, passphrase->text, length);
    return (int)length;
}

static enum rc read_key(struct bytes pem, const char *text, EVP_PKEY **out, struct err *e)
{
    struct passphrase passphrase = {.text = text && *text ? text : NULL};
    auto_bio BIO *source = BIO_new_mem_buf(pem.data, (int)pem.size);
    *out = source ? PEM_read_bio_PrivateKey(source, NULL, give_passphrase, &passphrase) : NULL;
    if (*out)
        return RC_OK;
    if (!passphrase.was_asked_for)
        return fail(e, RC_INVALID, "cannot read the RSA private key");
    if (!passphrase.text)
        return fail(e, RC_DENIED, "the RSA private key needs a passphrase");
    return fail(e, RC_DENIED, "the passphrase does not open the RSA private key");
}

enum rc crypto_rsa_load(struct bytes pem, const char *passphrase, struct crypto_rsa **out,
                        struct err *e)
{
    if (pem.size == 0 || pem.size > INT_MAX)
        return err_fail(e, RC_INVALID, "a file of %zu bytes holds no RSA private key", pem.size);
    auto_pkey EVP_PKEY *key = NULL;
    if (read_key(pem, passphrase, &key, e))
        return e->code;
    if (!EVP_PKEY_is_a(key, "RSA"))
        return err_fail(e, RC_INVALID, "the private key is not an RSA key");

    struct crypto_rsa *rsa = malloc(sizeof(*rsa));
    if (!rsa)
        return err_fail(e, RC_NO_SPACE, "out of memory for a key");
    rsa->key = take_pointer(&key);
    *out = rsa;
    return RC_OK;
}

void crypto_rsa_free(struct crypto_rsa **key)
{
    if (*key)
        EVP_PKEY_free((*key)->key);
    free(*key);
    *key = NULL;
}

/* OpenSSL owns the label once it is set, hence the copy. */
static bool set_label(EVP_PKEY_CTX *ctx, struct bytes label)
{
    if (label.size == 0)
        return true;
    void *copy = OPENSSL_memdup(label.data, label.size);
    if (copy && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, copy, (int)label.size) == 1)
        return true;
    OPENSSL_free(copy);
    return false;
}

static bool set_oaep(EVP_PKEY_CTX *ctx, struct bytes label)
{
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 && set_label(ctx, label);
}

enum rc crypto_rsa_wrap(const struct crypto_rsa *key, struct bytes label, struct bytes plain,
                        struct buf *out, struct err *e)
{
    size_t size = (size_t)EVP_PKEY_get_size(key->key);
    if (buf_reserve(out, size, e))
        return err_note(e, "could not wrap a key");

    auto_pkey_ctx EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->key, NULL);
    if (!ctx || EVP_PKEY_encrypt_init(ctx) != 1 || !set_oaep(ctx, label) ||
        EVP_PKEY_encrypt(ctx, out->data + out->size, &size, plain.data, plain.size) != 1)
        return fail(e, RC_INVALID, "cannot wrap a key with RSA-OAEP");
    out->size += size;
    return RC_OK;
}

enum rc crypto_rsa_unwrap(const struct crypto_rsa *key, struct bytes label, struct bytes wrapped,
                          struct buf *out, struct err *e)
{
    size_t size = (size_t)EVP_PKEY_get_size(key->key);
    if (buf_reserve(out, size, e))
        return err_note(e, "could not unwrap a key");

    auto_pkey_ctx EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->key, NULL);
    if (!ctx || EVP_PKEY_decrypt_init(ctx) != 1 || !set_oaep(ctx, label))
        return fail(e, RC_IO, "could not unwrap a key with RSA-OAEP");
    if (EVP_PKEY_decrypt(ctx, out->data + out->size, &size, wrapped.data, wrapped.size) != 1)
        return fail(e, RC_CORRUPT, "the wrapped key does not belong to this RSA key");
    out->size += size;
    return RC_OK;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* Decode four characters, the last `padding` of which are "=". False if one is foreign. */
static bool decode_group(const char *text, unsigned padding, uint8_t out[3])
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < 4; i++) {
        int digit = i < 4 - padding ? base64_digit(text[i]) : 0;
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
    }
    out[0] = (uint8_t)(bits >> 16);
    out[1] = (uint8_t)(bits >> 8);
    out[2] = (uint8_t)bits;
    return true;
}

/* Strict as RFC 4648 wants it: OpenSSL's decoder skips blanks and leaves the padding in. */
enum rc crypto_base64_decode(const char *text, struct buf *out, struct err *e)
{
    size_t length = strlen(text);
    size_t before = out->size;
    if (length % 4 != 0)
        return err_fail(e, RC_INVALID, "%zu characters are no base64", length);
    for (size_t i = 0; i < length; i += 4) {
        uint8_t group[3];
        bool is_last = i + 4 == length;
        unsigned padding = is_last && text[i + 3] == '=' ? 1 + (text[i + 2] == '=') : 0;
        enum rc rc = RC_OK;
        if (!decode_group(text + i, padding, group))
            rc = err_fail(e, RC_INVALID, "base64 has a foreign character at %zu", i);
        else
            rc = buf_add(out, group, 3 - padding, e);
        if (rc) {
            out->size = before;
            return rc;
        }
    }
    return RC_OK;
}

enum rc crypto_base64_encode(struct bytes in, struct buf *out, struct err *e)
{
    if (in.size > INT_MAX / 2)
        return err_fail(e, RC_INVALID, "%zu bytes are too many for base64", in.size);
    size_t length = (in.size + 2) / 3 * 4;
    if (buf_reserve(out, length, e))
        return err_note(e, "could not encode base64");

    /* OpenSSL ends its text with a NUL, which the buffer need not have room for. */
    auto_free uint8_t *text = malloc(length + 1);
    if (!text)
        return err_fail(e, RC_NO_SPACE, "out of memory for base64");
    (void)EVP_EncodeBlock(text, in.data, (int)in.size);
    return buf_add(out, text, length, e);
}
