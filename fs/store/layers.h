/*
 * layers - the constructors of drivers and layers, and the one place that stacks them.
 *
 * Each constructor takes the store below by **: on success it owns it and *below is NULL, on
 * failure it is still the caller's.
 *
 * Threads any · Blocking only opening touches the disk
 */
#ifndef FS_STORE_LAYERS_H
#define FS_STORE_LAYERS_H

#include "fs/base/crypto.h"
#include "fs/store/store.h"

/*
 * A directory as a bucket. Objects are written to a temporary sibling, synced and renamed, and the
 * directory is synced, so that RC_OK survives a power cut.
 *
 * RC_NOT_FOUND  there is no such directory (create it with create_missing)
 */
MUST_CHECK enum rc store_file_open(struct store **out, const char *directory, bool create_missing,
                                   struct err *e);

/* Put prefix in front of every key. */
MUST_CHECK enum rc store_prefix(struct store **out, struct store **below, const char *prefix,
                                struct err *e);

/* Choose below[FNV-1a(key) mod count]. Takes all of them. list() merges in byte order. */
MUST_CHECK enum rc store_shard(struct store **out, struct store **below, unsigned count,
                               struct err *e);

/* The envelope of §8 around every object; key is borrowed and outlives the store. */
MUST_CHECK enum rc store_encrypt(struct store **out, struct store **below,
                                 const struct crypto_rsa *key, enum crypto_aead algorithm,
                                 struct err *e);

/* Bounded, jittered tries after RC_UNAVAILABLE, RC_TIMEOUT, RC_IO and (same bytes) RC_UNCERTAIN. */
MUST_CHECK enum rc store_retry(struct store **out, struct store **below, unsigned max_tries,
                               struct err *e);

/*
 * Local first, then origin. get/head fall through when local has no object, or a bad one, or cannot
 * answer; put writes `local` too when write_both, else origin alone. remove and list: local alone.
 */
MUST_CHECK enum rc store_chain(struct store **out, struct store **local, struct store **origin,
                               bool write_both, struct err *e);

/* Bytes per second, shared by all threads, changeable live; 0: unlimited. */
MUST_CHECK enum rc store_limit(struct store **out, struct store **below, uint64_t get_rate,
                               uint64_t put_rate, struct err *e);
void store_limit_set(struct store *limit, uint64_t get_rate, uint64_t put_rate);

/*
 * A layer that misbehaves on purpose, for tests: TARN_FAULT="get:unavailable:0.1,put:lost:0.01"
 * (verb:kind:probability; kinds unavailable, timeout, lost (kept, answer lost), flip, cut, delay).
 */
MUST_CHECK enum rc store_fault(struct store **out, struct store **below, const char *plan,
                               uint64_t seed, struct err *e);

/* What a stack is made of: plain options, no format row, no PostgreSQL. */
struct stack_options {
    const char *storage;    /* "file" */
    const char *bucket;     /* with %d when shards > 1 */
    const char *prefix;     /* "name/" or "" */
    unsigned shards;        /* 0, 1: off */
    const char *encrypt_pem, *encrypt_passphrase, *encrypt_algo; /* NULL: plain */
    unsigned max_tries;     /* 0: 10 */
    bool create_missing;    /* make the bucket's directory */
};
/* RC_INVALID names an unknown storage. RC_NOT_FOUND: the bucket is missing. RC_DENIED: passphrase. */
MUST_CHECK enum rc stack_open(struct store **out, const struct stack_options *options,
                              struct err *e);

#endif
