#include "fs/store/envelope.h"
#include "fs/store/layers.h"
#include "fs/store/wrap.h"

/* A range needs the whole object, whose size nobody promises: what we take into memory at most. */
#define RANGE_OBJECT_MAX ((size_t)256 << 20)

struct encrypt_store {
    struct wrap wrap;
    struct crypto_rsa *key;
    enum crypto_aead algorithm;
};

/* Fetch and open a whole object of at most plain_max bytes of plaintext. */
static enum rc fetch(struct encrypt_store *s, const char *key, size_t plain_max, struct buf *plain,
                     uint64_t deadline_ms, struct err *e)
{
    auto_buf struct buf sealed;
    buf_init(&sealed, plain_max + ENVELOPE_OVERHEAD_MAX);
    enum rc rc = store_get(s->wrap.below, key, 0, STORE_TO_END, &sealed, deadline_ms, e);
    if (rc)
        return rc;
    buf_init(plain, sealed.size + CRYPTO_TAG_BYTES);
    if (envelope_open(s->key, s->algorithm, buf_bytes(&sealed), plain, e))
        return err_note(e, "object \"%s\" from %s", key, s->wrap.base.label);
    return RC_OK;
}

static enum rc encrypt_get(struct store *base, const char *key, uint64_t offset, uint64_t length,
                           struct buf *out, uint64_t deadline_ms, struct err *e)
{
    struct encrypt_store *s = (struct encrypt_store *)base;
    const size_t room = out->max - out->size;
    const bool is_range = offset > 0 || length != STORE_TO_END;
    const size_t plain_max = is_range || room > RANGE_OBJECT_MAX ? RANGE_OBJECT_MAX : room;
    auto_buf struct buf plain = {.max = 1};
    enum rc rc = fetch(s, key, plain_max, &plain, deadline_ms, e);
    if (rc)
        return rc;

    if (length == STORE_TO_END && offset <= plain.size)
        length = plain.size - offset;
    if (offset > plain.size || length > plain.size - offset)
        return err_fail(e, RC_CORRUPT, "object \"%s\" ends at %zu, before what was asked for", key,
                        plain.size);
    if (length > room)
        return err_fail(e, RC_CORRUPT, "object \"%s\" has %zu bytes, more than it may", key,
                        plain.size);
    return length == 0 ? RC_OK : buf_add(out, plain.data + offset, (size_t)length, e);
}

static enum rc encrypt_put(struct store *base, const char *key, struct bytes data,
                           uint64_t deadline_ms, struct err *e)
{
    struct encrypt_store *s = (struct encrypt_store *)base;
    auto_buf struct buf sealed;
    buf_init(&sealed, data.size + ENVELOPE_OVERHEAD_MAX);
    if (envelope_seal(s->key, s->algorithm, data, &sealed, e))
        return err_note(e, "could not encrypt object \"%s\"", key);
    return store_put(s->wrap.below, key, buf_bytes(&sealed), deadline_ms, e);
}

static void encrypt_close(struct store *base)
{
    crypto_rsa_free(&((struct encrypt_store *)base)->key);
    wrap_close(base);
}

static const struct store_ops encrypt_ops = {
    .name = "encrypt",
    .get = encrypt_get,
    .put = encrypt_put,
    .head = wrap_head,
    .remove = wrap_remove,
    .list = wrap_list,
    .close = encrypt_close,
};

enum rc store_encrypt(struct store **out, struct store **below, struct crypto_rsa **key,
                      enum crypto_aead algorithm, struct err *e)
{
    struct encrypt_store *s = wrap_new(sizeof(*s), &encrypt_ops, below, e);
    if (!s)
        return e->code;
    s->key = take_pointer(key);
    s->algorithm = algorithm;
    *out = &s->wrap.base;
    return RC_OK;
}
