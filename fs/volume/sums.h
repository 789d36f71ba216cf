/*
 * sums - CRC32C of a block's plaintext, piece by piece. Private to fs/volume; what others may use
 * is in volume.h.
 *
 * Threads any · Blocking CPU only
 */
#ifndef FS_VOLUME_SUMS_H
#define FS_VOLUME_SUMS_H

#include "fs/volume/volume.h"

/*
 * Compare plain with sums; sums without any pass.
 *
 * RC_CORRUPT  a piece differs
 * RC_INVALID  there are not as many sums as the block has pieces: the caller's mistake
 */
MUST_CHECK enum rc sums_check(uint32_t block_bytes, struct block_sums sums, const uint8_t *plain,
                              uint32_t size, struct err *e);

#endif
