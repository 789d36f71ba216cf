#include "fs/volume/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/conf.h"
#include "fs/base/log.h"
#include "fs/store/layers.h"
#include "fs/volume/guard.h"

/* A site's own bucket is asked few times before the origin is: both hold the same objects. */
#define LOCAL_TRIES 2

static const char *first_set(const char *a, const char *b, const char *c)
{
    if (a && a[0])
        return a;
    return b && b[0] ? b : c;
}

static enum rc open_end(struct store **out, const struct format *format, const char *bucket,
                        enum bucket_missing missing, unsigned max_tries, struct err *e)
{
    char prefix[STORE_KEY_MAX];
    int size = snprintf(prefix, sizeof(prefix), "%s/", format->name);
    if (size < 2 || size >= (int)sizeof(prefix))
        return err_fail(e, RC_INVALID, "volume name \"%.64s\" is unusable", format->name);

    const struct stack_options options = {
        .storage = format->storage,
        .bucket = bucket,
        .prefix = prefix,
        .shards = format->shards,
        .encrypt_pem = format->encrypt_key,
        .encrypt_passphrase = getenv("JFS_RSA_PASSPHRASE"),
        .encrypt_algo = format->encrypt_algo,
        .max_tries = max_tries,
        .missing = missing,
    };
    return stack_open(out, &options, e);
}

/* A bucket that has to be there and ours now. */
static enum rc open_required(struct store **out, const struct format *format, const char *bucket,
                             bool checks_uuid, unsigned max_tries, struct err *e)
{
    struct store *end = NULL;
    enum rc rc = open_end(&end, format, bucket, BUCKET_MUST_EXIST, max_tries, e);
    if (rc == RC_OK && checks_uuid)
        rc = guard_check(end, format->uuid, e);
    if (rc) {
        store_close(&end);
        err_note(e, "bucket of volume \"%s\"", format->name);
        bool is_wrong = rc == RC_NOT_FOUND || rc == RC_INVALID;
        return is_wrong ? err_exits(e, EXIT_STORE) : rc;
    }
    *out = end;
    return RC_OK;
}

/* The origin as a mirror sees it: it may be away now and come back, and shows then whose it is. */
static enum rc open_distant(struct store **out, const struct format *format, const char *bucket,
                            bool checks_uuid, struct err *e)
{
    enum rc rc = open_required(out, format, bucket, checks_uuid, 0, e);
    if (rc != RC_NOT_FOUND && rc != RC_UNAVAILABLE && rc != RC_TIMEOUT && rc != RC_IO)
        return rc;
    log_err(LOG_LEVEL_WARN, e, "origin bucket cannot be reached, going on without it");

    struct store *end = NULL;
    rc = open_end(&end, format, bucket, BUCKET_AWAIT, 0, e);
    if (rc == RC_OK)
        rc = guard_open(out, &end, format->uuid, e);
    store_close(&end);
    return rc;
}

/* Put the bucket of the primary before this one behind *own, which the answer owns then. */
static enum rc open_former(struct store **own, struct store **former, const struct format *format,
                           const char *bucket, bool checks_uuid, struct err *e)
{
    if (open_distant(former, format, bucket, checks_uuid, e))
        return e->code;
    struct store *both = NULL, *behind = *former;
    if (store_successor(&both, own, &behind, e)) {
        store_close(former);
        return e->code;
    }
    *own = both;
    return RC_OK;
}

/* What a mirror calls its origin: the primary's bucket, and behind it the one before, if any. */
static enum rc open_origin(struct store **out, const struct format *format,
                           const struct meta_site *site, const char *bucket, bool checks_uuid,
                           struct err *e)
{
    struct store *former = NULL;
    enum rc rc = open_distant(out, format, bucket, checks_uuid, e);
    if (rc == RC_OK && site->former_bucket)
        rc = open_former(out, &former, format, site->former_bucket, checks_uuid, e);
    return rc;
}

static enum rc open_mirror(struct volume_chain *out, const struct format *format,
                           const struct meta_site *site, const char *local_bucket,
                           const char *origin_bucket, bool checks_uuid, struct err *e)
{
    struct store *local = NULL, *origin = NULL;
    enum rc rc = open_origin(&origin, format, site, origin_bucket, checks_uuid, e);
    if (rc == RC_OK && !local_bucket) {
        *out = (struct volume_chain){.top = origin, .origin = origin};
        return RC_OK;
    }
    if (rc == RC_OK)
        rc = open_required(&local, format, local_bucket, checks_uuid, LOCAL_TRIES, e);
    if (rc == RC_OK) {
        *out = (struct volume_chain){.local = local, .origin = origin};
        rc = store_chain(&out->top, &local, &origin, true, e);
    }
    store_close(&local);
    store_close(&origin);
    return rc;
}

static enum rc open_primary(struct volume_chain *out, const struct format *format,
                            const struct meta_site *site, const char *bucket, bool checks_uuid,
                            struct err *e)
{
    struct store *own = NULL, *top, *former = NULL;
    enum rc rc = open_required(&own, format, bucket, checks_uuid, 0, e);
    top = own;
    if (rc == RC_OK && site->former_bucket)
        rc = open_former(&top, &former, format, site->former_bucket, checks_uuid, e);
    if (rc == RC_OK)
        *out = (struct volume_chain){.top = top, .origin = own, .former = former};
    else
        store_close(&own);
    return rc;
}

enum rc volume_chain_open(struct volume_chain *out, const struct format *format,
                          const struct meta_site *site, const struct volume_options *options,
                          struct err *e)
{
    const char *origin = first_set(options->bucket, site->origin_bucket, format->bucket);
    if (strcmp(site->role, "mirror") == 0) {
        const char *local = first_set(options->local_bucket, site->local_bucket, NULL);
        return open_mirror(out, format, site, local, origin, options->checks_uuid, e);
    }
    return open_primary(out, format, site, origin, options->checks_uuid, e);
}

void volume_chain_close(struct volume_chain *chain)
{
    store_close(&chain->top);
    *chain = (struct volume_chain){0};
}
