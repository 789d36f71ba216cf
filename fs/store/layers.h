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

/* What to do when a bucket's directory is not there at opening. */
enum bucket_missing {
    BUCKET_MUST_EXIST, /* RC_NOT_FOUND */
    BUCKET_CREATE,
    BUCKET_AWAIT, /* open all the same; verbs answer RC_UNAVAILABLE until it appears */
};

/*
 * A directory (an absolute path) as a bucket. Objects are written to a file without a name, synced
 * and then named, and the directories are synced, so that RC_OK survives a power cut. A directory
 * that is moved away or replaced while it is open answers RC_UNAVAILABLE.
 */
MUST_CHECK enum rc store_file_open(struct store **out, const char *directory,
                                   enum bucket_missing missing, struct err *e);

/* Put prefix in front of every key. */
MUST_CHECK enum rc store_prefix(struct store **out, struct store **below, const char *prefix,
                                struct err *e);

/* Choose below[FNV-1a(key) mod count]. Takes all of them. list() merges in byte order. */
MUST_CHECK enum rc store_shard(struct store **out, struct store **below, unsigned count,
                               struct err *e);

/* The envelope of §8 around every object; takes the key. Sizes in head() and list() are as stored.
 */
MUST_CHECK enum rc store_encrypt(struct store **out, struct store **below, struct crypto_rsa **key,
                                 enum crypto_aead algorithm, struct err *e);

/* Bounded, jittered tries after RC_UNAVAILABLE, RC_TIMEOUT, RC_IO and (same bytes) RC_UNCERTAIN. */
MUST_CHECK enum rc store_retry(struct store **out, struct store **below, unsigned max_tries,
                               struct err *e);

/*
 * Local first, then origin. get/head fall through when local has no object, or a bad one, or cannot
 * answer; put is done when origin has it, and tries `local` too when write_both. remove and list:
 * local alone.
 */
MUST_CHECK enum rc store_chain(struct store **out, struct store **local, struct store **origin,
                               bool write_both, struct err *e);

/* The same where own has taken the place of former: everything but reading is for own alone. */
MUST_CHECK enum rc store_successor(struct store **out, struct store **own, struct store **former,
                                   struct err *e);

/*
 * Of two stores' failures, is b the one to report? A store that may answer later outweighs a bad
 * copy, and that outweighs "not found", which is only true when every store says so.
 */
bool store_chain_outweighs(enum rc b, enum rc a);

/* Bytes per second, shared by all threads, changeable live; 0: unlimited. */
MUST_CHECK enum rc store_limit(struct store **out, struct store **below, uint64_t get_rate,
                               uint64_t put_rate, struct err *e);
void store_limit_set(struct store *limit, uint64_t get_rate, uint64_t put_rate);

/*
 * A layer that misbehaves on purpose, for tests: TARN_FAULT="get:unavailable:0.1,put:lost:0.01"
 * (verb get, put, head, remove or list, kind, probability; kinds unavailable, timeout, lost (put
 * and remove: done, answer lost), delay (50 ms), and for get and put flip (one bit) and cut (the
 * end)). stack_open() reads that variable.
 */
MUST_CHECK enum rc store_fault(struct store **out, struct store **below, const char *plan,
                               uint64_t seed, struct err *e);

/*
 * What a stack is made of: plain options, no format row, no PostgreSQL. From the outside in:
 * encrypt, retry (so that a second try sends the same bytes), prefix, fault, shard, driver.
 */
struct stack_options {
    const char *storage; /* "file" */
    const char *bucket;  /* an absolute path or file:// URL; with %d when shards > 1 */
    const char *prefix;  /* "name/" or "" */
    unsigned shards;     /* 0, 1: off */
    const char *encrypt_pem, *encrypt_passphrase, *encrypt_algo; /* NULL: plain */
    unsigned max_tries;                                          /* 0: 10 */
    enum bucket_missing missing;
};
/* RC_INVALID names an unknown storage. RC_NOT_FOUND: the bucket is missing. RC_DENIED: passphrase.
 */
MUST_CHECK enum rc stack_open(struct store **out, const struct stack_options *options,
                              struct err *e);

#endif
