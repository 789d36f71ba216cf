/*
 * volume - a volume opened at a site: its metadata handle and the store chain that its format row
 * and its site row describe. The only place where a format row becomes a store.
 *
 * At a primary the chain is the origin bucket; one that was a mirror reads what it still lacks from
 * the bucket of the primary before it. At a mirror it is local, then origin; a missing origin is
 * then a warning, not a failure, and it may appear later.
 *
 * Threads   any, between open and close
 * Blocking  opening and every block verb wait for network and disk
 */
#ifndef FS_VOLUME_VOLUME_H
#define FS_VOLUME_VOLUME_H

#include "fs/meta/meta.h"
#include "fs/store/codec.h"
#include "fs/store/key.h"
#include "fs/store/store.h"

struct volume;

struct volume_options {
    struct meta_options meta;
    const char *bucket;       /* --bucket: instead of the format row's; NULL: as it says */
    const char *local_bucket; /* instead of the site row's; NULL: as it says */
    bool needs_ready;         /* refuse a mirror that is not consistent yet */
    bool checks_uuid;         /* compare the object juicefs_uuid with the format row */
};

/*
 * RC_* of meta_open(); RC_NOT_FOUND with "bucket" in the text: the bucket is missing;
 * RC_INVALID: the bucket belongs to another volume; RC_STALE: the mirror is not ready.
 */
MUST_CHECK enum rc volume_open(struct volume **out, const struct volume_options *options,
                               struct err *e);
void volume_close(struct volume **volume);

/*
 * Open other stores if the site has another role or other buckets than when the stores in use were
 * opened: after a promotion. Asked at each heartbeat, by one thread. The buckets of volume_options
 * were those of the former role and count no more. Stores that were handed out stay open until
 * volume_close(). On failure all is as before.
 */
MUST_CHECK enum rc volume_follow(struct volume *volume, struct err *e);

struct meta *volume_meta(struct volume *volume);
/* The chain as readers use it, keys relative to "<name>/". */
struct store *volume_store(struct volume *volume);
/*
 * The ends of the chain. local is NULL at a primary and at a mirror without a bucket of its own.
 * A mirror's origin that cannot be reached answers RC_UNAVAILABLE until it can; it shows its
 * juicefs_uuid before anything else gets through.
 */
struct store *volume_local(struct volume *volume);
struct store *volume_origin(struct volume *volume);
/* At a primary: the bucket of the primary before it, while it is still read from; else NULL. */
struct store *volume_former(struct volume *volume);

/*
 * Write the volume's identity into a mirror's own bucket that has none yet, so that it cannot be
 * taken for another volume's later. RC_INVALID: it is another volume's.
 */
MUST_CHECK enum rc volume_claim_local(struct volume *volume, struct err *e);

/* Constants of the volume. */
uint32_t volume_block_bytes(const struct volume *volume);
const char *volume_uuid(const struct volume *volume);
const char *volume_name(const struct volume *volume);
bool volume_hash_prefix(const struct volume *volume);

/* CRC32C of each meta_sum_bytes() of a block's plaintext; NULL sums: only the length is checked. */
struct block_sums {
    const uint32_t *sums;
    uint32_t count;
};

/*
 * Fetch one block into plain (block.size bytes), decoded and verified: length, AEAD tag where
 * encrypted, sums where there are any. A bad copy in one store is followed by the next store.
 *
 * RC_NOT_FOUND    no store has it
 * RC_CORRUPT      every copy is bad; logged with key and site
 */
MUST_CHECK enum rc volume_get_block(struct volume *volume, struct block_id block,
                                    struct block_sums sums, uint8_t *plain, uint64_t deadline_ms,
                                    struct err *e);

/* The same from one given end of the chain (syncer, fsck). */
MUST_CHECK enum rc volume_get_block_from(struct volume *volume, struct store *from,
                                         struct block_id block, struct block_sums sums,
                                         uint8_t *plain, uint64_t deadline_ms, struct err *e);

/*
 * Encode and store one block where the volume's primary writes; durable on RC_OK. A mirror's own
 * bucket gets it as it gets all others, by the syncer.
 */
MUST_CHECK enum rc volume_put_block(struct volume *volume, struct block_id block,
                                    const uint8_t *plain, uint64_t deadline_ms, struct err *e);

/* The same into one given end of the chain (syncer, repair). */
MUST_CHECK enum rc volume_put_block_to(struct volume *volume, struct store *to,
                                       struct block_id block, const uint8_t *plain,
                                       uint64_t deadline_ms, struct err *e);

/*
 * Remove one block from the bucket that the volume writes to; one that is not there is no failure.
 * Only for slices that nothing refers to any more (fs/upkeep).
 */
MUST_CHECK enum rc volume_remove_block(struct volume *volume, struct block_id block,
                                       uint64_t deadline_ms, struct err *e);

/*
 * Ask the bucket that the volume writes to, now, whether it is still the volume's: for whoever is
 * about to remove something. A directory that is not mounted any more looks like an empty bucket.
 *
 * RC_INVALID      it says that it belongs to another volume
 * RC_UNAVAILABLE  it shows neither its identity nor a single block, or cannot be asked
 */
MUST_CHECK enum rc volume_vouch(struct volume *volume, struct err *e);

/* Sums of plain (size bytes) into out (ceil(size / meta_sum_bytes(block_bytes)) entries). */
void volume_sum_block(const struct volume *volume, const uint8_t *plain, uint32_t size,
                      uint32_t *out);
/* The part of a slice's sums that covers one block; {NULL, 0} when sums is NULL or does not fit. */
struct block_sums volume_block_sums(const struct volume *volume, const struct slice_sums *sums,
                                    uint32_t indx);

#endif
