/*
 * crypto - OpenSSL's home: digests, random bytes, AEAD and RSA-OAEP, as the volume format needs.
 *
 * Threads any (a key may be shared once loaded) · Blocking CPU only
 * Source  volume format §2 (secret wrapping) and §8 (envelope); RFC 5116, RFC 8439, RFC 8017
 */
#ifndef FS_BASE_CRYPTO_H
#define FS_BASE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

MUST_CHECK enum rc crypto_random(void *out, size_t size, struct err *e);
/* 36 characters and a NUL: a random (version 4) UUID in lower case. */
MUST_CHECK enum rc crypto_uuid4(char out[37], struct err *e);
MUST_CHECK enum rc crypto_md5(struct bytes in, uint8_t out[16], struct err *e);
MUST_CHECK enum rc crypto_sha256(struct bytes in, uint8_t out[32], struct err *e);

enum crypto_aead { CRYPTO_AES_128_GCM, CRYPTO_AES_256_GCM, CRYPTO_CHACHA20_POLY1305 };
#define CRYPTO_NONCE_BYTES 12
#define CRYPTO_TAG_BYTES   16

/* Bytes of the key of an algorithm: 16 or 32. */
size_t crypto_key_bytes(enum crypto_aead algorithm);
/* Append ciphertext and tag of plain to out. */
MUST_CHECK enum rc crypto_seal(enum crypto_aead algorithm, const uint8_t *key,
                               const uint8_t nonce[CRYPTO_NONCE_BYTES], struct bytes plain,
                               struct buf *out, struct err *e);
/* Append the plaintext. RC_CORRUPT when the tag does not match; out is then as before. */
MUST_CHECK enum rc crypto_unseal(enum crypto_aead algorithm, const uint8_t *key,
                                 const uint8_t nonce[CRYPTO_NONCE_BYTES], struct bytes sealed,
                                 struct buf *out, struct err *e);

struct crypto_rsa;
/* Load a private key (PKCS#1, PKCS#8, encrypted or not). RC_DENIED: passphrase missing or wrong. */
MUST_CHECK enum rc crypto_rsa_load(struct bytes pem, const char *passphrase,
                                   struct crypto_rsa **out, struct err *e);
void crypto_rsa_free(struct crypto_rsa **key);
/* RSA-OAEP with SHA-256 for hash and MGF1, and the given label. */
MUST_CHECK enum rc crypto_rsa_wrap(const struct crypto_rsa *key, struct bytes label,
                                   struct bytes plain, struct buf *out, struct err *e);
MUST_CHECK enum rc crypto_rsa_unwrap(const struct crypto_rsa *key, struct bytes label,
                                     struct bytes wrapped, struct buf *out, struct err *e);

MUST_CHECK enum rc crypto_base64_decode(const char *text, struct buf *out, struct err *e);
MUST_CHECK enum rc crypto_base64_encode(struct bytes in, struct buf *out, struct err *e);

#endif
