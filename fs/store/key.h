/*
 * key - names of objects inside a bucket, relative to "<volume name>/".
 *
 * Threads any · Blocking never
 * Source  volume format §8
 */
#ifndef FS_STORE_KEY_H
#define FS_STORE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/err.h"

#define BLOCK_KEY_BYTES 96

/* One stored object of a slice. size is the plaintext length of this block. */
struct block_id {
    uint64_t slice;
    uint32_t indx;
    uint32_t size;
};

/* Write the key with its NUL: chunks/0/0/3_0_4194304, or with hash_prefix chunks/03/0/3_0_4194304.
 */
void block_key(char out[BLOCK_KEY_BYTES], bool hash_prefix, struct block_id block);
/* The reverse, of either layout. RC_INVALID when key is not exactly what block_key() writes. */
MUST_CHECK enum rc block_key_parse(const char *key, struct block_id *out, struct err *e);

/* How many blocks a slice of slice_bytes has, and the size of block indx. */
uint32_t block_count(uint32_t slice_bytes, uint32_t block_bytes);
uint32_t block_size(uint32_t slice_bytes, uint32_t block_bytes, uint32_t indx);

#endif
