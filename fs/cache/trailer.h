/*
 * trailer - the sums at the end of a cached block file: a big-endian CRC32C of every 32 KiB.
 *
 * The sums say that bytes are as they were written, not that the file is the block its name
 * promises. But sums of adjacent pieces can be joined without the bytes, so a trailer can also be
 * held against the block's sums from the metadata: that finds two files that were swapped.
 *
 * Threads any · Blocking never
 */
#ifndef FS_CACHE_TRAILER_H
#define FS_CACHE_TRAILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRAILER_PIECE ((uint32_t)32768)

/* How many sums, so 4 bytes each, follow a block of plain_bytes. */
uint32_t trailer_count(uint32_t plain_bytes);

/* Write the trailer of a block: 4 · trailer_count bytes. */
void trailer_make(const uint8_t *plain, uint32_t plain_bytes, uint8_t *out);

/* Do pieces first… of `bytes` bytes (whole pieces, but for the block's last) match the trailer? */
bool trailer_check(const uint8_t *trailer, uint32_t first, const uint8_t *plain, uint32_t bytes);

/*
 * Does the trailer of plain_bytes agree with count sums, one for each sum_bytes (a multiple of
 * 32 KiB) of the plaintext?
 */
bool trailer_agrees(const uint8_t *trailer, uint32_t plain_bytes, const uint32_t *sums,
                    uint32_t count, uint32_t sum_bytes);

#endif
