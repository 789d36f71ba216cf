/*
 * fake_volume - the volume that the block cache is tested with: every block is made up from its
 * name, and fetches are counted, can be slow and can fail.
 */
#ifndef TESTS_UNIT_FS_CACHE_FAKE_VOLUME_H
#define TESTS_UNIT_FS_CACHE_FAKE_VOLUME_H

#include <stdatomic.h>

#include "fs/volume/volume.h"

struct volume {
    uint32_t block_bytes;
    _Atomic unsigned fetches;
    _Atomic unsigned delay_ms;
    _Atomic int outcome; /* enum rc of every fetch */
};

/* What the block of that name holds. */
void fake_block(struct block_id block, uint8_t *out);

#endif
