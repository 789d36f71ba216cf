#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/store/envelope.h"
#include "fs/store/layers.h"

#define TRIES_DEFAULT 10
#define SHARDS_MAX    256
#define BUCKET_MAX    4096
#define FILE_SCHEME   "file://"

/* The directory that a bucket of the file driver names. */
static enum rc bucket_directory(const char *bucket, const char **out, struct err *e)
{
    const size_t scheme = strlen(FILE_SCHEME);
    const char *path = strncmp(bucket, FILE_SCHEME, scheme) == 0 ? bucket + scheme : bucket;
    if (path[0] != '/')
        return err_fail(e, RC_INVALID,
                        "bucket \"%s\" is neither an absolute path nor a file:///path", bucket);
    if (strlen(path) >= BUCKET_MAX)
        return err_fail(e, RC_INVALID, "bucket path is longer than %d bytes", BUCKET_MAX - 1);
    *out = path;
    return RC_OK;
}

/* Print the number of a shard into the pattern, whose one verb is %d, zero-padded or not. */
static enum rc shard_directory(const char *pattern, unsigned shard, char out[BUCKET_MAX],
                               struct err *e)
{
    const char *verb = strchr(pattern, '%');
    const char *at = verb ? verb + 1 : pattern;
    bool is_padded = verb && *at == '0';
    at += is_padded;
    int width = verb && *at >= '1' && *at <= '9' ? *at++ - '0' : 0;
    if (!verb || *at != 'd' || strchr(at, '%'))
        return err_fail(e, RC_INVALID, "bucket \"%s\" of a sharded volume needs one %%d", pattern);

    char number[16];
    (void)snprintf(number, sizeof(number), is_padded ? "%0*u" : "%*u", width, shard);
    int size =
        snprintf(out, BUCKET_MAX, "%.*s%s%s", (int)(verb - pattern), pattern, number, at + 1);
    if (size < 0 || size >= BUCKET_MAX)
        return err_fail(e, RC_INVALID, "bucket path is longer than %d bytes", BUCKET_MAX - 1);
    return RC_OK;
}

static enum rc open_shards(struct store **out, const char *pattern,
                           const struct stack_options *options, struct err *e)
{
    struct store *below[SHARDS_MAX] = {NULL};
    char directory[BUCKET_MAX];
    enum rc rc = RC_OK;
    if (options->shards > SHARDS_MAX)
        return err_fail(e, RC_INVALID, "%u shards are more than %d", options->shards, SHARDS_MAX);
    for (unsigned i = 0; i < options->shards && rc == RC_OK; i++) {
        rc = shard_directory(pattern, i, directory, e);
        if (rc == RC_OK)
            rc = store_file_open(&below[i], directory, options->missing, e);
    }
    if (rc == RC_OK)
        rc = store_shard(out, below, options->shards, e);
    for (unsigned i = 0; i < options->shards; i++)
        store_close(&below[i]);
    return rc;
}

static enum rc open_driver(struct store **out, const struct stack_options *options, struct err *e)
{
    if (strcmp(options->storage, "file") != 0)
        return err_fail(e, RC_INVALID, "storage \"%s\" is not supported", options->storage);
    const char *directory = NULL;
    enum rc rc = bucket_directory(options->bucket, &directory, e);
    if (rc)
        return rc;
    if (options->shards > 1)
        return open_shards(out, directory, options, e);
    return store_file_open(out, directory, options->missing, e);
}

/* Each add_ below replaces *top by a layer around it, and leaves it alone on failure. */
static enum rc add_fault(struct store **top, struct err *e)
{
    const char *plan = getenv("TARN_FAULT");
    if (!plan || plan[0] == 0)
        return RC_OK;
    log_warn("store %s fails on purpose: TARN_FAULT=%s", (*top)->label, plan);
    return store_fault(top, &(struct store *){*top}, plan, clock_us(), e);
}

static enum rc add_encryption(struct store **top, const struct stack_options *options,
                              struct err *e)
{
    if (!options->encrypt_pem)
        return RC_OK;
    enum crypto_aead algorithm;
    enum rc rc = envelope_algorithm(options->encrypt_algo, &algorithm, e);
    if (rc)
        return rc;
    struct bytes pem = {(const uint8_t *)options->encrypt_pem, strlen(options->encrypt_pem)};
    struct crypto_rsa *key = NULL;
    if (crypto_rsa_load(pem, options->encrypt_passphrase, &key, e))
        return err_note(e, "could not load the volume's encryption key");
    rc = store_encrypt(top, &(struct store *){*top}, &key, algorithm, e);
    crypto_rsa_free(&key);
    return rc;
}

static enum rc add_layers(struct store **top, const struct stack_options *options, struct err *e)
{
    const unsigned tries = options->max_tries ? options->max_tries : TRIES_DEFAULT;
    enum rc rc = add_fault(top, e);
    if (rc == RC_OK && options->prefix && options->prefix[0])
        rc = store_prefix(top, &(struct store *){*top}, options->prefix, e);
    if (rc == RC_OK)
        rc = store_retry(top, &(struct store *){*top}, tries, e);
    if (rc == RC_OK)
        rc = add_encryption(top, options, e);
    return rc;
}

enum rc stack_open(struct store **out, const struct stack_options *options, struct err *e)
{
    struct store *top = NULL;
    enum rc rc = open_driver(&top, options, e);
    if (rc == RC_OK)
        rc = add_layers(&top, options, e);
    if (rc) {
        store_close(&top);
        return rc;
    }
    *out = top;
    return RC_OK;
}
