#include "fs/volume/volume.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/base/metric.h"
#include "fs/store/layers.h"
#include "fs/volume/chain.h"
#include "fs/volume/guard.h"
#include "fs/volume/sums.h"

#define VOLUME_STORES_MAX 8192 /* role and buckets of a site, as text */

METRIC_DEFINE(corrupt_blocks, METRIC_COUNTER, "tarn_block_corrupt_total", NULL,
              "copies of blocks in a bucket that were not what their length or sum promises");

/* The stores of one time. Earlier ones stay until the end: somebody may be reading from them. */
struct chain_version {
    struct volume_chain chain;
    char *made_for; /* describe() of the site and the format that it was opened for */
    struct chain_version *before;
};

struct volume {
    struct meta *meta;
    struct volume_options options; /* of which only what volume_follow() needs is set */
    _Atomic(struct chain_version *) stores;
    char *name, *uuid;
    uint32_t block_bytes;
    enum codec codec;
    bool hash_prefix;
};

static enum rc take_constants(struct volume *v, const struct format *format, struct err *e)
{
    const uint32_t block_bytes = format->block_bytes;
    if (block_bytes == 0 || (block_bytes & (block_bytes - 1)) != 0)
        return err_fail(e, RC_INVALID, "block size %u is no power of two", block_bytes);
    v->block_bytes = block_bytes;
    v->hash_prefix = format->hash_prefix;
    v->name = strdup(format->name);
    v->uuid = strdup(format->uuid);
    if (!v->name || !v->uuid)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    return codec_parse(format->compression ? format->compression : "", &v->codec, e);
}

static const struct volume_chain *chain_of(struct volume *v)
{
    return &atomic_load_explicit(&v->stores, memory_order_acquire)->chain;
}

static void chains_close(struct chain_version *stores)
{
    while (stores) {
        struct chain_version *before = stores->before;
        volume_chain_close(&stores->chain);
        free(stores->made_for);
        free(stores);
        stores = before;
    }
}

/* What decides which stores there are. */
static char *describe(const struct format *format, const struct meta_site *site)
{
    const char *const parts[] = {site->role, site->local_bucket, site->origin_bucket,
                                 site->former_bucket, format->bucket};
    char text[VOLUME_STORES_MAX];
    size_t size = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && size < sizeof(text); i++)
        size +=
            (size_t)snprintf(text + size, sizeof(text) - size, "%s\n", parts[i] ? parts[i] : "");
    return strdup(text);
}

/* Open the stores of a site and use them from now on. */
static enum rc add_chain(struct volume *v, const struct format *format,
                         const struct meta_site *site, const struct volume_options *options,
                         struct err *e)
{
    struct chain_version *fresh = calloc(1, sizeof(*fresh));
    char *made_for = describe(format, site);
    if (!fresh || !made_for || volume_chain_open(&fresh->chain, format, site, options, e)) {
        const bool is_short = !fresh || !made_for;
        free(fresh);
        free(made_for);
        return is_short ? err_fail(e, RC_NO_SPACE, "out of memory") : e->code;
    }
    fresh->made_for = made_for;
    fresh->before = atomic_load_explicit(&v->stores, memory_order_relaxed);
    atomic_store_explicit(&v->stores, fresh, memory_order_release);
    return RC_OK;
}

enum rc volume_follow(struct volume *v, struct err *e)
{
    struct format *format = meta_format_ref(v->meta);
    const struct meta_site *site = meta_site(v->meta);
    auto_free char *now = describe(format, site);
    enum rc rc = RC_OK;
    if (!now)
        rc = err_fail(e, RC_NO_SPACE, "out of memory");
    else if (strcmp(now, atomic_load(&v->stores)->made_for) != 0) {
        rc = add_chain(v, format, site, &v->options, e);
        if (rc == RC_OK)
            log_info("this site is a %s now, blocks are written to %s", site->role,
                     chain_of(v)->origin->label);
    }
    meta_format_unref(v->meta, &format);
    return rc;
}

enum rc volume_assemble(struct volume **out, const struct format *format,
                        const struct meta_site *site, const struct volume_options *options,
                        struct err *e)
{
    if (options->needs_ready && !site->is_ready) {
        err_fail(e, RC_STALE, "site \"%s\" is not ready: its copy is not complete yet",
                 site->name ? site->name : "");
        return err_exits(e, EXIT_NOT_READY);
    }
    struct volume *v = calloc(1, sizeof(*v));
    if (!v)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    enum rc rc = take_constants(v, format, e);
    v->options.checks_uuid = options->checks_uuid;
    if (rc == RC_OK)
        rc = add_chain(v, format, site, options, e);
    if (rc) {
        volume_close(&v);
        return rc;
    }
    *out = v;
    return RC_OK;
}

enum rc volume_open(struct volume **out, const struct volume_options *options, struct err *e)
{
    struct meta *meta = NULL;
    enum rc rc = meta_open(&meta, &options->meta, e);
    if (rc)
        return rc;
    struct format *format = meta_format_ref(meta);
    rc = volume_assemble(out, format, meta_site(meta), options, e);
    meta_format_unref(meta, &format);
    if (rc) {
        meta_close(&meta);
        return rc;
    }
    (*out)->meta = meta;
    return RC_OK;
}

void volume_close(struct volume **volume)
{
    struct volume *v = *volume;
    if (!v)
        return;
    chains_close(v->stores);
    if (v->meta)
        meta_close(&v->meta);
    free(v->name);
    free(v->uuid);
    free(v);
    *volume = NULL;
}

struct meta *volume_meta(struct volume *volume)
{
    return volume->meta;
}

struct store *volume_store(struct volume *volume)
{
    return chain_of(volume)->top;
}

struct store *volume_local(struct volume *volume)
{
    return chain_of(volume)->local;
}

struct store *volume_origin(struct volume *volume)
{
    return chain_of(volume)->origin;
}

struct store *volume_former(struct volume *volume)
{
    return chain_of(volume)->former;
}

enum rc volume_claim_local(struct volume *volume, struct err *e)
{
    if (guard_claim(chain_of(volume)->local, volume->uuid, e))
        return err_note(e, "could not mark the bucket of this site");
    return RC_OK;
}

uint32_t volume_block_bytes(const struct volume *volume)
{
    return volume->block_bytes;
}

const char *volume_uuid(const struct volume *volume)
{
    return volume->uuid;
}

const char *volume_name(const struct volume *volume)
{
    return volume->name;
}

bool volume_hash_prefix(const struct volume *volume)
{
    return volume->hash_prefix;
}

/* A volume without compression stores the plaintext: the caller's memory receives it directly. */
static enum rc fetch_plain(struct store *from, const char *key, uint8_t *plain, uint32_t size,
                           uint64_t deadline_ms, struct err *e)
{
    struct buf into = {.data = plain, .capacity = size, .max = size};
    enum rc rc = store_get(from, key, 0, STORE_TO_END, &into, deadline_ms, e);
    if (rc == RC_OK && into.size != size)
        return err_fail(e, RC_CORRUPT, "object \"%s\" has %zu bytes instead of %u", key, into.size,
                        size);
    return rc;
}

static enum rc fetch_packed(const struct volume *v, struct store *from, const char *key,
                            uint8_t *plain, uint32_t size, uint64_t deadline_ms, struct err *e)
{
    auto_buf struct buf stored;
    buf_init(&stored, codec_bound(v->codec, size));
    enum rc rc = store_get(from, key, 0, STORE_TO_END, &stored, deadline_ms, e);
    if (rc)
        return rc;
    if (codec_decode(v->codec, buf_bytes(&stored), plain, size, e))
        return err_note(e, "object \"%s\"", key);
    return RC_OK;
}

static enum rc check_block(const struct volume *v, struct block_id block, struct err *e)
{
    if (block.slice == 0 || block.size == 0 || block.size > v->block_bytes)
        return err_fail(e, RC_INVALID, "no block can have %u bytes in slice %llu", block.size,
                        (unsigned long long)block.slice);
    return RC_OK;
}

enum rc volume_get_block_from(struct volume *v, struct store *from, struct block_id block,
                              struct block_sums sums, uint8_t *plain, uint64_t deadline_ms,
                              struct err *e)
{
    enum rc rc = check_block(v, block, e);
    if (rc)
        return rc;
    char key[BLOCK_KEY_BYTES];
    block_key(key, v->hash_prefix, block);
    if (v->codec == CODEC_NONE)
        rc = fetch_plain(from, key, plain, block.size, deadline_ms, e);
    else
        rc = fetch_packed(v, from, key, plain, block.size, deadline_ms, e);
    if (rc == RC_OK)
        rc = sums_check(v->block_bytes, sums, plain, block.size, e);
    if (rc == RC_CORRUPT) {
        metric_add(&corrupt_blocks, 1);
        return err_note(e, "block %s from %s", key, from->label);
    }
    return rc;
}

/* Ask one end after the other; of several failures the weightiest is told. */
static enum rc ask_ends(struct volume *v, struct block_id block, struct block_sums sums,
                        uint8_t *plain, uint64_t deadline_ms, struct err *e)
{
    const struct volume_chain *chain = chain_of(v);
    struct store *const ends[] = {chain->local, chain->origin, chain->former};
    enum rc worst = RC_OK;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct err mine = ERR_INIT;
        if (!ends[i])
            continue;
        enum rc rc = volume_get_block_from(v, ends[i], block, sums, plain, deadline_ms, &mine);
        if (rc == RC_OK || rc == RC_INVALID) {
            *e = mine;
            return rc;
        }
        if (rc == RC_CORRUPT)
            log_err(LOG_LEVEL_WARN, &mine, "bad copy of a block");
        if (store_chain_outweighs(rc, worst)) {
            *e = mine;
            worst = rc;
        }
    }
    return worst;
}

enum rc volume_get_block(struct volume *v, struct block_id block, struct block_sums sums,
                         uint8_t *plain, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = ask_ends(v, block, sums, plain, deadline_ms, e);
    /* Bytes may be damaged on their way, too: only what is bad twice is bad. */
    if (rc == RC_CORRUPT)
        rc = ask_ends(v, block, sums, plain, deadline_ms, e);
    if (rc == RC_CORRUPT)
        log_err(LOG_LEVEL_ERROR, e, "every copy of a block of volume \"%s\" is bad", v->name);
    return rc;
}

enum rc volume_put_block_to(struct volume *v, struct store *to, struct block_id block,
                            const uint8_t *plain, uint64_t deadline_ms, struct err *e)
{
    enum rc rc = check_block(v, block, e);
    if (rc)
        return rc;
    char key[BLOCK_KEY_BYTES];
    block_key(key, v->hash_prefix, block);
    const struct bytes content = {plain, block.size};
    if (v->codec == CODEC_NONE)
        return store_put(to, key, content, deadline_ms, e);

    auto_buf struct buf stored;
    buf_init(&stored, codec_bound(v->codec, block.size));
    rc = codec_encode(v->codec, content, &stored, e);
    return rc ? rc : store_put(to, key, buf_bytes(&stored), deadline_ms, e);
}

enum rc volume_put_block(struct volume *v, struct block_id block, const uint8_t *plain,
                         uint64_t deadline_ms, struct err *e)
{
    return volume_put_block_to(v, chain_of(v)->origin, block, plain, deadline_ms, e);
}

enum rc volume_remove_block(struct volume *v, struct block_id block, uint64_t deadline_ms,
                            struct err *e)
{
    enum rc rc = check_block(v, block, e);
    if (rc)
        return rc;
    char key[BLOCK_KEY_BYTES];
    block_key(key, v->hash_prefix, block);
    return store_remove(chain_of(v)->origin, key, deadline_ms, e);
}

enum rc volume_vouch(struct volume *v, struct err *e)
{
    return guard_vouch(chain_of(v)->origin, v->uuid, e);
}
