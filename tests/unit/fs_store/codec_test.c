#include "fs/store/codec.h"

#include <string.h>
#include <zstd.h>

#include "tests/unit/check.h"
#include "tests/unit/fs_store/scratch.h"

static const enum codec all[] = {CODEC_NONE, CODEC_LZ4, CODEC_ZSTD};
#define PLAIN_MAX (300 * 1024)

static uint8_t plain[PLAIN_MAX], back[PLAIN_MAX];

static void encode(enum codec codec, size_t size, struct buf *out)
{
    struct err e = ERR_INIT;
    buf_init(out, codec_bound(codec, PLAIN_MAX));
    scratch_fill(plain, size, size + 1);
    CHECK_OK(codec_encode(codec, (struct bytes){plain, size}, out, &e), &e);
    CHECK(out->size <= codec_bound(codec, size));
}

static enum rc decode(enum codec codec, struct bytes stored, size_t plain_bytes)
{
    struct err e = ERR_INIT;
    return codec_decode(codec, stored, back, plain_bytes, &e);
}

TEST("codecs go by the names of the format row")
{
    struct err e = ERR_INIT;
    enum codec codec;
    CHECK(codec_parse("", &codec, &e) == RC_OK && codec == CODEC_NONE);
    CHECK(codec_parse("none", &codec, &e) == RC_OK && codec == CODEC_NONE);
    CHECK(codec_parse("lz4", &codec, &e) == RC_OK && codec == CODEC_LZ4);
    CHECK(codec_parse("zstd", &codec, &e) == RC_OK && codec == CODEC_ZSTD);
    CHECK_RC(codec_parse("gzip", &codec, &e), RC_INVALID);
    CHECK(strstr(e.text, "gzip") != NULL);
}

TEST("every codec gives back what it was given, at every size")
{
    static const size_t sizes[] = {1, 2, 63, 64, 4096, 65535, 65536, 65537, PLAIN_MAX};
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            auto_buf struct buf stored;
            encode(all[c], sizes[i], &stored);
            CHECK(decode(all[c], buf_bytes(&stored), sizes[i]) == RC_OK);
            CHECK(memcmp(plain, back, sizes[i]) == 0);
        }
    }
}

TEST("a stored block of another plaintext length is corrupt")
{
    for (size_t c = 0; c < 3; c++) {
        auto_buf struct buf stored;
        encode(all[c], 5000, &stored);
        CHECK(decode(all[c], buf_bytes(&stored), 4999) == RC_CORRUPT);
        CHECK(decode(all[c], buf_bytes(&stored), 5001) == RC_CORRUPT);
        CHECK(decode(all[c], buf_bytes(&stored), 0) == RC_CORRUPT);
    }
}

TEST("a cut or prolonged block is corrupt")
{
    for (size_t c = 0; c < 3; c++) {
        auto_buf struct buf stored;
        struct err e = ERR_INIT;
        encode(all[c], 5000, &stored);
        for (size_t size = 0; size < stored.size; size += 7)
            CHECK_RC(decode(all[c], (struct bytes){stored.data, size}, 5000), RC_CORRUPT);
        CHECK_OK(buf_add(&stored, "x", 1, &e), &e);
        CHECK(decode(all[c], buf_bytes(&stored), 5000) == RC_CORRUPT);
    }
}

TEST("flipped bits never write outside the block")
{
    for (size_t c = 1; c < 3; c++) {
        auto_buf struct buf stored;
        encode(all[c], 20000, &stored);
        for (size_t bit = 0; bit < stored.size * 8; bit += 11) {
            stored.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            back[20000] = 0xA5;
            (void)decode(all[c], buf_bytes(&stored), 20000);
            CHECK(back[20000] == 0xA5);
            stored.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
}

TEST("a zstd bomb is refused without its memory")
{
    const size_t bomb_plain = 256 << 20;
    auto_free uint8_t *zeros = calloc(1, bomb_plain);
    static uint8_t bomb[128 * 1024];
    CHECK(zeros != NULL);
    size_t size = ZSTD_compress(bomb, sizeof(bomb), zeros, bomb_plain, 1);
    CHECK(!ZSTD_isError(size));
    CHECK_RC(decode(CODEC_ZSTD, (struct bytes){bomb, size}, PLAIN_MAX), RC_CORRUPT);
}

TEST("two zstd frames are not one")
{
    auto_buf struct buf first, second;
    struct err e = ERR_INIT;
    encode(CODEC_ZSTD, 1000, &first);
    encode(CODEC_ZSTD, 500, &second);
    CHECK_OK(buf_add(&first, second.data, second.size, &e), &e);
    CHECK(decode(CODEC_ZSTD, buf_bytes(&first), 1500) == RC_CORRUPT);
}

TEST("an lz4 block is raw, without a frame")
{
    auto_buf struct buf stored;
    buf_init(&stored, 100);
    struct err e = ERR_INIT;
    CHECK_OK(codec_encode(CODEC_LZ4, BYTES_OF("abc"), &stored, &e), &e);
    CHECK(stored.size == 4 && memcmp(stored.data,
                                     "\x30"
                                     "abc",
                                     4) == 0);
}
