#include "fs/base/crypto.h"

#include "fs/base/wire.h"
#include "tests/unit/check.h"

/* Bytes of hex text, for vectors as the standards print them. */
static size_t unhex(const char *hex, uint8_t *out)
{
    size_t size = 0;
    for (; *hex; hex += 2) {
        unsigned byte;
        CHECK(sscanf(hex, "%2x", &byte) == 1);
        out[size++] = (uint8_t)byte;
    }
    return size;
}

static void check_hex(struct bytes actual, const char *hex)
{
    uint8_t expected[256];
    CHECK_BYTES(actual.data, actual.size, expected, unhex(hex, expected));
}

struct vector {
    enum crypto_aead algorithm;
    const char *key, *nonce, *plain, *sealed;
};

static const struct vector vectors[] = {
    /* NIST GCM specification, test cases 1, 2, 3 and 14 (no additional data) */
    {CRYPTO_AES_128_GCM, "00000000000000000000000000000000", "000000000000000000000000", "",
     "58e2fccefa7e3061367f1d57a4e7455a"},
    {CRYPTO_AES_128_GCM, "00000000000000000000000000000000", "000000000000000000000000",
     "00000000000000000000000000000000",
     "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
    {CRYPTO_AES_128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
     "b525b16aedf5aa0de657ba637b391aafd255",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84"
     "aa051ba30b396a0aac973d58e091473f59854d5c2af327cd64a62cf35abd2ba6fab4"},
    {CRYPTO_AES_256_GCM, "0000000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {CRYPTO_CHACHA20_POLY1305, "0000000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000", "", "4eb972c9a8fb3a1b382bb4d36f5ffad1"},
};

TEST("AEAD gives the published ciphertexts, and takes them back")
{
    struct err e;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        uint8_t key[32];
        uint8_t nonce[12];
        uint8_t plain[64];
        auto_buf struct buf sealed;
        auto_buf struct buf opened;
        buf_init(&sealed, 1000);
        buf_init(&opened, 1000);
        CHECK_EQ(unhex(v->key, key), crypto_key_bytes(v->algorithm));
        (void)unhex(v->nonce, nonce);
        struct bytes text = {plain, unhex(v->plain, plain)};
        CHECK_OK(crypto_seal(v->algorithm, key, nonce, text, &sealed, &e), &e);
        check_hex(buf_bytes(&sealed), v->sealed);
        CHECK_OK(crypto_unseal(v->algorithm, key, nonce, buf_bytes(&sealed), &opened, &e), &e);
        CHECK_BYTES(opened.data, opened.size, text.data, text.size);
    }
}

/* The vector has additional data, which we never use: it changes the tag, not the ciphertext. */
TEST("ChaCha20-Poly1305 gives the ciphertext of RFC 8439 2.8.2")
{
    static const char plain[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only "
        "one tip for the future, sunscreen would be it.";
    struct err e;
    uint8_t key[32];
    uint8_t nonce[12];
    auto_buf struct buf sealed;
    buf_init(&sealed, 200);
    (void)unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
    (void)unhex("070000004041424344454647", nonce);
    CHECK_OK(crypto_seal(CRYPTO_CHACHA20_POLY1305, key, nonce, BYTES_OF(plain), &sealed, &e), &e);
    CHECK_EQ(sealed.size, 114 + CRYPTO_TAG_BYTES);
    check_hex((struct bytes){sealed.data, 114},
              "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
              "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
              "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
              "3ff4def08e4b7a9de576d26586cec64b6116");
}

TEST("one flipped bit anywhere, or a cut, is corrupt and gives out nothing")
{
    static const uint8_t key[32] = "0123456789abcdef0123456789abcde";
    static const uint8_t nonce[12] = "nonce-nonce";
    struct err e;
    auto_buf struct buf sealed;
    auto_buf struct buf out;
    buf_init(&sealed, 1000);
    buf_init(&out, 1000);
    CHECK_OK(buf_add_str(&out, "before", &e), &e);
    CHECK_OK(crypto_seal(CRYPTO_AES_256_GCM, key, nonce, BYTES_OF("secret"), &sealed, &e), &e);
    for (size_t i = 0; i < sealed.size; i++) {
        sealed.data[i] ^= 4;
        CHECK_RC(crypto_unseal(CRYPTO_AES_256_GCM, key, nonce, buf_bytes(&sealed), &out, &e),
                 RC_CORRUPT);
        sealed.data[i] ^= 4;
    }
    for (size_t size = 0; size < sealed.size; size++)
        CHECK_RC(crypto_unseal(CRYPTO_AES_256_GCM, key, nonce, (struct bytes){sealed.data, size},
                               &out, &e),
                 RC_CORRUPT);
    CHECK_BYTES(out.data, out.size, "before", 6);
}

TEST("a full buffer refuses to encrypt or decrypt")
{
    static const uint8_t key[16];
    static const uint8_t nonce[12];
    struct err e;
    auto_buf struct buf out;
    buf_init(&out, 20);
    CHECK_RC(crypto_seal(CRYPTO_AES_128_GCM, key, nonce, BYTES_OF("12345"), &out, &e), RC_NO_SPACE);
    CHECK_EQ(out.size, 0);
}

static struct crypto_rsa *fixture_key(void)
{
    size_t size;
    struct err e;
    struct crypto_rsa *key = NULL;
    auto_free char *pem = check_read_data("fixtures/aes256gcm-rsa/key.pem", &size);
    CHECK_OK(crypto_rsa_load((struct bytes){(uint8_t *)pem, size}, "correct horse 7", &key, &e),
             &e);
    return key;
}

TEST("a wrapped key comes back under the same RSA key and label only")
{
    struct err e;
    struct crypto_rsa *key = fixture_key();
    auto_buf struct buf wrapped;
    auto_buf struct buf plain;
    buf_init(&wrapped, 256);
    buf_init(&plain, 256);
    CHECK_OK(crypto_rsa_wrap(key, BYTES_OF("keys"), BYTES_OF("a key of 32 bytes, or nearly so."),
                             &wrapped, &e),
             &e);
    CHECK_EQ(wrapped.size, 256);
    CHECK_RC(crypto_rsa_unwrap(key, BYTES_OF("other"), buf_bytes(&wrapped), &plain, &e),
             RC_CORRUPT);
    CHECK_EQ(plain.size, 0);
    CHECK_OK(crypto_rsa_unwrap(key, BYTES_OF("keys"), buf_bytes(&wrapped), &plain, &e), &e);
    CHECK_BYTES(plain.data, plain.size, "a key of 32 bytes, or nearly so.", 32);
    buf_clear(&plain);
    wrapped.data[100] ^= 1;
    CHECK_RC(crypto_rsa_unwrap(key, BYTES_OF("keys"), buf_bytes(&wrapped), &plain, &e), RC_CORRUPT);
    CHECK_RC(crypto_rsa_unwrap(key, BYTES_OF("keys"), BYTES_OF("short"), &plain, &e), RC_CORRUPT);
    crypto_rsa_free(&key);
    CHECK(key == NULL);
}

/* The object juicefs_uuid of an encrypted volume, as a stock client wrote it: big-endian length of
 * the wrapped key, length of the nonce, wrapped key, nonce, ciphertext. */
TEST("what a stock client wrapped and encrypted can be opened")
{
    size_t size;
    struct err e;
    struct crypto_rsa *key = fixture_key();
    auto_free char *object = check_read_data("rsa-envelope.bin", &size);
    struct wire_reader r = wire_reader((struct bytes){(uint8_t *)object, size});
    auto_buf struct buf data_key;
    auto_buf struct buf plain;
    buf_init(&data_key, 256);
    buf_init(&plain, 256);

    size_t wrapped_size = wire_read_u16(&r);
    CHECK_EQ(wire_read_bytes(&r, 1).data[0], CRYPTO_NONCE_BYTES);
    struct bytes wrapped = wire_read_bytes(&r, wrapped_size);
    struct bytes nonce = wire_read_bytes(&r, CRYPTO_NONCE_BYTES);
    struct bytes sealed = wire_read_bytes(&r, r.left);
    CHECK(!r.is_short);
    CHECK_OK(crypto_rsa_unwrap(key, BYTES_OF("keys"), wrapped, &data_key, &e), &e);
    CHECK_EQ(data_key.size, 32);
    CHECK_OK(crypto_unseal(CRYPTO_AES_256_GCM, data_key.data, nonce.data, sealed, &plain, &e), &e);
    CHECK_BYTES(plain.data, plain.size, "59c19059-5fc0-4a80-ae74-5c4631910df8", 36);
    crypto_rsa_free(&key);
}

TEST("a missing or wrong passphrase is denied, foreign bytes are invalid")
{
    size_t size;
    struct err e;
    struct crypto_rsa *key = NULL;
    auto_free char *pem = check_read_data("fixtures/aes256gcm-rsa/key.pem", &size);
    struct bytes text = {(uint8_t *)pem, size};
    CHECK_RC(crypto_rsa_load(text, NULL, &key, &e), RC_DENIED);
    CHECK_RC(crypto_rsa_load(text, "", &key, &e), RC_DENIED);
    CHECK_RC(crypto_rsa_load(text, "wrong", &key, &e), RC_DENIED);
    CHECK_RC(crypto_rsa_load(BYTES_OF("no key"), "x", &key, &e), RC_INVALID);
    CHECK_RC(crypto_rsa_load(BYTES_OF(""), "x", &key, &e), RC_INVALID);
    CHECK(key == NULL);
}

TEST("digests are those of the standards")
{
    struct err e;
    uint8_t out[32];
    CHECK_OK(crypto_md5(BYTES_OF("abc"), out, &e), &e);
    check_hex((struct bytes){out, 16}, "900150983cd24fb0d6963f7d28e17f72");
    CHECK_OK(crypto_sha256(BYTES_OF("abc"), out, &e), &e);
    check_hex((struct bytes){out, 32},
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST("a UUID is of version 4, and another one each time")
{
    struct err e;
    char one[37];
    char two[37];
    CHECK_OK(crypto_uuid4(one, &e), &e);
    CHECK_OK(crypto_uuid4(two, &e), &e);
    CHECK_EQ(strlen(one), 36);
    CHECK(one[14] == '4' && strchr("89ab", one[19]) && one[8] == '-' && one[23] == '-');
    CHECK(strcmp(one, two) != 0);
}

static void check_base64(const char *plain, const char *text)
{
    struct err e;
    const char *encoded = NULL;
    auto_buf struct buf out;
    buf_init(&out, 100);
    CHECK_OK(crypto_base64_encode((struct bytes){(const uint8_t *)plain, strlen(plain)}, &out, &e),
             &e);
    CHECK_OK(buf_cstr(&out, &encoded, &e), &e);
    CHECK_STR(encoded, text);
    buf_clear(&out);
    CHECK_OK(crypto_base64_decode(text, &out, &e), &e);
    CHECK_BYTES(out.data, out.size, plain, strlen(plain));
}

TEST("base64 gives the vectors of RFC 4648 and refuses what is none")
{
    static const char *const bad[] = {"Zg",     "Zg=",   "Z===", "====", "Zm9=Zm9v",
                                      "Zm9v\n", "Zm 9v", "Zm9_", "Zm9v="};
    check_base64("", "");
    check_base64("f", "Zg==");
    check_base64("fo", "Zm8=");
    check_base64("foo", "Zm9v");
    check_base64("foobar", "Zm9vYmFy");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e;
        auto_buf struct buf out;
        buf_init(&out, 100);
        CHECK_RC(crypto_base64_decode(bad[i], &out, &e), RC_INVALID);
        CHECK_EQ(out.size, 0);
    }
}
