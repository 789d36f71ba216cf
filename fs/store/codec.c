#include "fs/store/codec.h"

#include <lz4.h>
#include <string.h>
#include <zstd.h>

/* What stock clients use: fast, since the network is behind it. */
#define ZSTD_LEVEL 1

enum rc codec_parse(const char *name, enum codec *out, struct err *e)
{
    if (name[0] == 0 || strcmp(name, "none") == 0)
        *out = CODEC_NONE;
    else if (strcmp(name, "lz4") == 0)
        *out = CODEC_LZ4;
    else if (strcmp(name, "zstd") == 0)
        *out = CODEC_ZSTD;
    else
        return err_fail(e, RC_INVALID, "compression \"%.64s\" is not known", name);
    return RC_OK;
}

size_t codec_bound(enum codec codec, size_t plain_bytes)
{
    switch (codec) {
    case CODEC_NONE:
        return plain_bytes;
    case CODEC_LZ4:
        return plain_bytes > LZ4_MAX_INPUT_SIZE ? 0 : (size_t)LZ4_compressBound((int)plain_bytes);
    case CODEC_ZSTD:
        return ZSTD_compressBound(plain_bytes);
    }
    return 0;
}

static enum rc encode_lz4(struct bytes plain, struct buf *out, size_t bound, struct err *e)
{
    int size = LZ4_compress_default((const char *)plain.data, (char *)out->data + out->size,
                                    (int)plain.size, (int)bound);
    if (size <= 0)
        return err_fail(e, RC_IO, "lz4 could not compress %zu bytes", plain.size);
    out->size += (size_t)size;
    return RC_OK;
}

static enum rc encode_zstd(struct bytes plain, struct buf *out, size_t bound, struct err *e)
{
    size_t size = ZSTD_compress(out->data + out->size, bound, plain.data, plain.size, ZSTD_LEVEL);
    if (ZSTD_isError(size))
        return err_fail(e, RC_IO, "zstd could not compress %zu bytes: %s", plain.size,
                        ZSTD_getErrorName(size));
    out->size += size;
    return RC_OK;
}

enum rc codec_encode(enum codec codec, struct bytes plain, struct buf *out, struct err *e)
{
    if (codec == CODEC_NONE)
        return buf_add(out, plain.data, plain.size, e);
    size_t bound = codec_bound(codec, plain.size);
    if (bound == 0)
        return err_fail(e, RC_INVALID, "cannot compress %zu bytes at once", plain.size);
    enum rc rc = buf_reserve(out, bound, e);
    if (rc)
        return rc;
    return codec == CODEC_LZ4 ? encode_lz4(plain, out, bound, e)
                              : encode_zstd(plain, out, bound, e);
}

static enum rc corrupt(struct err *e, const char *what, size_t stored_bytes, size_t plain_bytes)
{
    return err_fail(e, RC_CORRUPT, "%zu stored bytes are not %s of %zu bytes", stored_bytes, what,
                    plain_bytes);
}

static enum rc decode_lz4(struct bytes stored, uint8_t *plain, size_t plain_bytes, struct err *e)
{
    if (stored.size > codec_bound(CODEC_LZ4, plain_bytes))
        return corrupt(e, "an lz4 block", stored.size, plain_bytes);
    int size = LZ4_decompress_safe((const char *)stored.data, (char *)plain, (int)stored.size,
                                   (int)plain_bytes);
    if (size < 0 || (size_t)size != plain_bytes)
        return corrupt(e, "an lz4 block", stored.size, plain_bytes);
    return RC_OK;
}

/* One whole frame and nothing behind it. The output is the window, so a bomb finds no memory. */
static enum rc decode_zstd(struct bytes stored, uint8_t *plain, size_t plain_bytes, struct err *e)
{
    if (ZSTD_findFrameCompressedSize(stored.data, stored.size) != stored.size)
        return corrupt(e, "one zstd frame", stored.size, plain_bytes);
    size_t size = ZSTD_decompress(plain, plain_bytes, stored.data, stored.size);
    if (ZSTD_isError(size) || size != plain_bytes)
        return corrupt(e, "one zstd frame", stored.size, plain_bytes);
    return RC_OK;
}

enum rc codec_decode(enum codec codec, struct bytes stored, uint8_t *plain, size_t plain_bytes,
                     struct err *e)
{
    switch (codec) {
    case CODEC_NONE:
        if (stored.size != plain_bytes)
            return corrupt(e, "a block", stored.size, plain_bytes);
        if (plain_bytes > 0)
            memcpy(plain, stored.data, plain_bytes);
        return RC_OK;
    case CODEC_LZ4:
        return decode_lz4(stored, plain, plain_bytes, e);
    case CODEC_ZSTD:
        return decode_zstd(stored, plain, plain_bytes, e);
    }
    return err_fail(e, RC_INVALID, "unknown codec %d", (int)codec);
}
