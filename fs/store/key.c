#include "fs/store/key.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void block_key(char out[BLOCK_KEY_BYTES], bool hash_prefix, struct block_id block)
{
    uint64_t millions = block.slice / 1000 / 1000;
    if (hash_prefix)
        (void)snprintf(
            out, BLOCK_KEY_BYTES, "chunks/%02X/%" PRIu64 "/%" PRIu64 "_%" PRIu32 "_%" PRIu32,
            (unsigned)(block.slice % 256), millions, block.slice, block.indx, block.size);
    else
        (void)snprintf(out, BLOCK_KEY_BYTES,
                       "chunks/%" PRIu64 "/%" PRIu64 "/%" PRIu64 "_%" PRIu32 "_%" PRIu32, millions,
                       block.slice / 1000, block.slice, block.indx, block.size);
}

/* Read digits up to max; how they were written is checked by writing the key again. */
static bool read_number(const char **at, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    bool is_number = p != *at;
    *at = p;
    *out = value;
    return is_number;
}

static bool read_name(const char *name, struct block_id *out)
{
    uint64_t slice, indx, size;
    if (!read_number(&name, UINT64_MAX, &slice) || *name++ != '_')
        return false;
    if (!read_number(&name, UINT32_MAX, &indx) || *name++ != '_')
        return false;
    if (!read_number(&name, UINT32_MAX, &size) || *name != 0)
        return false;
    *out = (struct block_id){.slice = slice, .indx = (uint32_t)indx, .size = (uint32_t)size};
    return slice != 0 && size != 0;
}

enum rc block_key_parse(const char *key, struct block_id *out, struct err *e)
{
    const char *slash = strrchr(key, '/');
    struct block_id block;
    if (!slash || !read_name(slash + 1, &block))
        return err_fail(e, RC_INVALID, "\"%.100s\" is no block key", key);

    char plain[BLOCK_KEY_BYTES], hashed[BLOCK_KEY_BYTES];
    block_key(plain, false, block);
    block_key(hashed, true, block);
    if (strcmp(key, plain) != 0 && strcmp(key, hashed) != 0)
        return err_fail(e, RC_INVALID, "\"%.100s\" is no block key", key);
    *out = block;
    return RC_OK;
}

uint32_t block_count(uint32_t slice_bytes, uint32_t block_bytes)
{
    return slice_bytes / block_bytes + (slice_bytes % block_bytes != 0);
}

uint32_t block_size(uint32_t slice_bytes, uint32_t block_bytes, uint32_t indx)
{
    uint64_t start = (uint64_t)indx * block_bytes;
    if (start >= slice_bytes)
        return 0;
    uint64_t left = slice_bytes - start;
    return left < block_bytes ? (uint32_t)left : block_bytes;
}
