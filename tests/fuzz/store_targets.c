#include "tests/fuzz/store_targets.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/wire.h"
#include "fs/store/codec.h"
#include "fs/store/envelope.h"
#include "fs/store/key.h"

static void promise(bool is_kept)
{
    if (!is_kept)
        abort();
}

int fuzz_block_key(const uint8_t *data, size_t size)
{
    char key[256];
    if (size >= sizeof(key))
        return 0;
    if (size > 0)
        memcpy(key, data, size);
    key[size] = 0;

    struct err e = ERR_INIT;
    struct block_id block;
    if (block_key_parse(key, &block, &e))
        return 0;
    char plain[BLOCK_KEY_BYTES], hashed[BLOCK_KEY_BYTES];
    block_key(plain, false, block);
    block_key(hashed, true, block);
    promise(strcmp(key, plain) == 0 || strcmp(key, hashed) == 0);
    promise(block.slice != 0 && block.size != 0);
    return 0;
}

int fuzz_envelope(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct envelope parts;
    if (envelope_parse((struct bytes){data, size}, &parts, &e)) {
        promise(e.code == RC_CORRUPT);
        return 0;
    }
    promise(parts.wrapped.data == data + 3);
    promise(parts.nonce == parts.wrapped.data + parts.wrapped.size);
    promise(parts.sealed.data == parts.nonce + CRYPTO_NONCE_BYTES);
    promise(parts.sealed.data + parts.sealed.size == data + size);
    promise(parts.sealed.size >= CRYPTO_TAG_BYTES);
    return 0;
}

int fuzz_codec(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const size_t plain_bytes = wire_u16(data + 1);
    const struct bytes stored = {data + 3, size - 3};
    struct err e = ERR_INIT;
    uint8_t *plain = malloc(plain_bytes ? plain_bytes : 1);
    promise(plain != NULL);
    enum rc rc = codec_decode((enum codec)(data[0] % 3), stored, plain, plain_bytes, &e);
    promise(rc == RC_OK || rc == RC_CORRUPT);
    free(plain);
    return 0;
}
