/*
 * envelope - the encrypted form of an object: a fresh data key wrapped by the volume's RSA key, a
 * nonce, and the AEAD ciphertext with its tag.
 *
 * Every input is hostile until the tag has matched. No I/O.
 *
 * Threads any · Blocking CPU only
 * Source  volume format §8
 */
#ifndef FS_STORE_ENVELOPE_H
#define FS_STORE_ENVELOPE_H

#include "fs/base/buf.h"
#include "fs/base/crypto.h"

#define ENVELOPE_WRAPPED_MAX  2048 /* a modulus of 16 384 bits */
#define ENVELOPE_OVERHEAD_MAX (3 + ENVELOPE_WRAPPED_MAX + CRYPTO_NONCE_BYTES + CRYPTO_TAG_BYTES)

/* The parts, borrowed from the object. */
struct envelope {
    struct bytes wrapped;
    const uint8_t *nonce;
    struct bytes sealed;
};

/* RC_INVALID: not one of the algorithms that we speak. NULL and "" are the default. */
MUST_CHECK enum rc envelope_algorithm(const char *name, enum crypto_aead *out, struct err *e);

/* Split an object into its parts. RC_CORRUPT when it is not an envelope. */
MUST_CHECK enum rc envelope_parse(struct bytes object, struct envelope *out, struct err *e);

/* Append the envelope of plain. */
MUST_CHECK enum rc envelope_seal(const struct crypto_rsa *key, enum crypto_aead algorithm,
                                 struct bytes plain, struct buf *out, struct err *e);

/* Append the plaintext. RC_CORRUPT: damaged, or sealed under another key. */
MUST_CHECK enum rc envelope_open(const struct crypto_rsa *key, enum crypto_aead algorithm,
                                 struct bytes object, struct buf *out, struct err *e);

#endif
