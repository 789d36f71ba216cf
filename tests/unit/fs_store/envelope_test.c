#include "fs/store/envelope.h"

#include <string.h>

#include "fs/base/clock.h"
#include "tests/fuzz/store_targets.h"
#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

static const enum crypto_aead algorithms[] = {CRYPTO_AES_256_GCM, CRYPTO_CHACHA20_POLY1305};

static uint64_t soon(void)
{
    return clock_deadline(60000);
}

/* The volume key of a fixture; its passphrase is in the fixture's info.json. */
static struct crypto_rsa *load_key(void)
{
    size_t size;
    struct err e = ERR_INIT;
    struct crypto_rsa *key = NULL;
    auto_free char *pem = check_read_data("fixtures/aes256gcm-rsa/key.pem", &size);
    struct bytes text = {(const uint8_t *)pem, size};
    CHECK_OK(crypto_rsa_load(text, "correct horse 7", &key, &e), &e);
    return key;
}

static struct store *encrypt_over(struct store *below, enum crypto_aead algorithm)
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    struct crypto_rsa *key = load_key();
    CHECK_OK(store_encrypt(&s, &below, &key, algorithm, &e), &e);
    CHECK(below == NULL && key == NULL);
    return s;
}

TEST("an envelope opens to what was sealed, whatever its size")
{
    struct crypto_rsa *key = load_key();
    static uint8_t plain[100000];
    static const size_t sizes[] = {0, 1, 15, 16, 4096, sizeof(plain)};
    for (size_t a = 0; a < 2; a++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            struct err e = ERR_INIT;
            auto_buf struct buf sealed, back;
            buf_init(&sealed, sizeof(plain) + ENVELOPE_OVERHEAD_MAX);
            buf_init(&back, sizeof(plain) + CRYPTO_TAG_BYTES);
            scratch_fill(plain, sizes[i], i + 1);
            struct bytes given = {plain, sizes[i]};
            CHECK_OK(envelope_seal(key, algorithms[a], given, &sealed, &e), &e);
            CHECK_EQ(sealed.size, 3 + 256 + 12 + sizes[i] + 16);
            CHECK_OK(envelope_open(key, algorithms[a], buf_bytes(&sealed), &back, &e), &e);
            CHECK_BYTES(back.data, back.size, plain, sizes[i]);
        }
    }
    crypto_rsa_free(&key);
}

TEST("two envelopes of the same bytes have nothing in common")
{
    struct crypto_rsa *key = load_key();
    struct err e = ERR_INIT;
    auto_buf struct buf first, second;
    buf_init(&first, 4096);
    buf_init(&second, 4096);
    CHECK_OK(envelope_seal(key, CRYPTO_AES_256_GCM, BYTES_OF("the same"), &first, &e), &e);
    CHECK_OK(envelope_seal(key, CRYPTO_AES_256_GCM, BYTES_OF("the same"), &second, &e), &e);
    CHECK(memcmp(first.data + 3, second.data + 3, 256) != 0);
    CHECK(memcmp(first.data + 259, second.data + 259, 12) != 0);
    crypto_rsa_free(&key);
}

TEST("an envelope that lost a byte or had a bit flipped is corrupt, wherever that was")
{
    struct crypto_rsa *key = load_key();
    struct err e = ERR_INIT;
    auto_buf struct buf sealed, out;
    buf_init(&sealed, 4096);
    buf_init(&out, 4096);
    CHECK_OK(envelope_seal(key, CRYPTO_AES_256_GCM, BYTES_OF("content"), &sealed, &e), &e);
    for (size_t i = 0; i < sealed.size; i += i < 8 || i > 255 ? 1 : 31) {
        sealed.data[i] ^= 0x40;
        CHECK_RC(envelope_open(key, CRYPTO_AES_256_GCM, buf_bytes(&sealed), &out, &e), RC_CORRUPT);
        sealed.data[i] ^= 0x40;
        struct bytes cut = {sealed.data, i};
        CHECK_RC(envelope_open(key, CRYPTO_AES_256_GCM, cut, &out, &e), RC_CORRUPT);
        CHECK_EQ(out.size, 0);
    }
    CHECK_RC(envelope_open(key, CRYPTO_CHACHA20_POLY1305, buf_bytes(&sealed), &out, &e),
             RC_CORRUPT);
    crypto_rsa_free(&key);
}

TEST("algorithms go by the names of the format row")
{
    struct err e = ERR_INIT;
    enum crypto_aead algorithm;
    CHECK_OK(envelope_algorithm(NULL, &algorithm, &e), &e);
    CHECK_EQ(algorithm, CRYPTO_AES_256_GCM);
    CHECK_OK(envelope_algorithm("chacha20-rsa", &algorithm, &e), &e);
    CHECK_EQ(algorithm, CRYPTO_CHACHA20_POLY1305);
    CHECK_RC(envelope_algorithm("sm4gcm", &algorithm, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "sm4gcm");
}

TEST("an encrypting store keeps nothing readable below and gives ranges of the plaintext")
{
    for (size_t a = 0; a < 2; a++) {
        char directory[SCRATCH_PATH];
        struct store *below = scratch_store(directory);
        struct store *s = encrypt_over(below, algorithms[a]);
        struct err e = ERR_INIT;
        auto_buf struct buf raw, part;
        buf_init(&raw, 4096);
        buf_init(&part, 6);
        CHECK_RC(scratch_put(s, "a/b", "plain text, plain text"), RC_OK);
        CHECK(scratch_holds(s, "a/b", "plain text, plain text"));
        CHECK_RC(scratch_get(below, "a/b", &raw), RC_OK);
        CHECK(memmem(raw.data, raw.size, "plain", 5) == NULL);
        CHECK_OK(store_get(s, "a/b", 6, 4, &part, soon(), &e), &e);
        CHECK_BYTES(part.data, part.size, "text", 4);
        CHECK_RC(store_get(s, "a/b", 20, 3, &part, soon(), &e), RC_CORRUPT);
        CHECK_RC(store_get(s, "a/b", 0, STORE_TO_END, &part, soon(), &e), RC_CORRUPT);
        CHECK_EQ(part.size, 4);
        CHECK_RC(store_get(s, "a/none", 0, 1, &part, soon(), &e), RC_NOT_FOUND);
        store_close(&s);
    }
}

TEST("an encrypting store does not read an object that is too large into memory")
{
    char directory[SCRATCH_PATH], path[SCRATCH_PATH];
    struct store *s = encrypt_over(scratch_store(directory), CRYPTO_AES_256_GCM);
    auto_buf struct buf out;
    buf_init(&out, 100);
    scratch_write_file(directory, "huge", BYTES_OF("x"));
    scratch_join(path, directory, "huge");
    CHECK_EQ(truncate(path, 1LL << 40), 0);
    CHECK_RC(scratch_get(s, "huge", &out), RC_CORRUPT);
    store_close(&s);
}

TEST("flipped and cut answers never pass the seal")
{
    char directory[SCRATCH_PATH];
    struct err e = ERR_INIT;
    struct store *below = scratch_store(directory), *faulty = NULL;
    CHECK_OK(store_fault(&faulty, &below, "get:flip:0.5,get:cut:0.3", 3, &e), &e);
    struct store *s = encrypt_over(faulty, CRYPTO_AES_256_GCM);
    CHECK_RC(scratch_put(s, "k", "what must come back whole"), RC_OK);
    unsigned good = 0;
    auto_buf struct buf out;
    buf_init(&out, 100);
    for (unsigned i = 0; i < 60; i++) {
        enum rc rc = scratch_get(s, "k", &out);
        CHECK(rc == RC_OK || rc == RC_CORRUPT);
        if (rc == RC_OK)
            CHECK_BYTES(out.data, out.size, "what must come back whole", 25);
        good += rc == RC_OK;
    }
    CHECK(good > 5 && good < 55);
    store_close(&s);
}

TEST("a stack opens the buckets that its options name, and says what is wrong with others")
{
    char directory[SCRATCH_PATH], bucket[SCRATCH_PATH];
    struct store *s = NULL;
    scratch_dir(directory);
    scratch_join(bucket, directory, "shard-%03d/");
    struct err e = ERR_INIT;
    struct stack_options options = {
        .storage = "file", .bucket = bucket, .prefix = "vol/", .shards = 3};
    CHECK_RC(stack_open(&s, &options, &e), RC_NOT_FOUND);
    options.missing = BUCKET_CREATE;
    CHECK_OK(stack_open(&s, &options, &e), &e);
    CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
    CHECK(scratch_holds(s, "k", "v"));
    store_close(&s);

    static const char *const wrong[] = {"relative",    "/no/verb",      "/two/%d/%d", "/x/%s",
                                        "/x/%",        "/x/%d%%",       "/x/%*d",     "/x/%n",
                                        "s3://bucket", "file://host%d", "/x/%12d"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        options.bucket = wrong[i];
        options.missing = BUCKET_MUST_EXIST;
        CHECK_RC(stack_open(&s, &options, &e), RC_INVALID);
    }
    options = (struct stack_options){.storage = "s3", .bucket = directory};
    CHECK_RC(stack_open(&s, &options, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "\"s3\"");
}

TEST("a stack takes file:// URLs and keeps per cents of unsharded buckets")
{
    char directory[SCRATCH_PATH], url[SCRATCH_PATH + 32], path[SCRATCH_PATH];
    struct store *s = NULL;
    struct err e = ERR_INIT;
    scratch_dir(directory);
    (void)snprintf(url, sizeof(url), "file://%s/100%%d", directory);
    struct stack_options options = {.storage = "file", .bucket = url, .missing = BUCKET_CREATE};
    CHECK_OK(stack_open(&s, &options, &e), &e);
    CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
    scratch_join(path, directory, "100%d/k");
    CHECK_EQ(access(path, F_OK), 0);
    store_close(&s);
}

TEST("a stack without the passphrase of its key is denied")
{
    char directory[SCRATCH_PATH];
    size_t size;
    struct store *s = NULL;
    struct err e = ERR_INIT;
    scratch_dir(directory);
    auto_free char *pem = check_read_data("fixtures/aes256gcm-rsa/key.pem", &size);
    struct stack_options options = {.storage = "file", .bucket = directory, .encrypt_pem = pem};
    CHECK_RC(stack_open(&s, &options, &e), RC_DENIED);
    options.encrypt_passphrase = "wrong";
    CHECK_RC(stack_open(&s, &options, &e), RC_DENIED);
    options.encrypt_passphrase = "correct horse 7";
    CHECK_OK(stack_open(&s, &options, &e), &e);
    CHECK_RC(scratch_put(s, "k", "v"), RC_OK);
    CHECK(scratch_holds(s, "k", "v"));
    store_close(&s);
}

TEST("the parsers hold on every input of their corpus")
{
    check_corpus("block_key", fuzz_block_key);
    check_corpus("envelope", fuzz_envelope);
    check_corpus("codec", fuzz_codec);
}
