/*
 * codec - block compression as the volume format has it: one raw LZ4 block or one zstd frame, no
 * header, the plaintext length coming from the key.
 *
 * Threads any · Blocking CPU only
 * Source  volume format §8
 */
#ifndef FS_STORE_CODEC_H
#define FS_STORE_CODEC_H

#include "fs/base/buf.h"
#include "fs/base/err.h"

enum codec { CODEC_NONE, CODEC_LZ4, CODEC_ZSTD };

/* "", "none", "lz4", "zstd". RC_INVALID otherwise. */
MUST_CHECK enum rc codec_parse(const char *name, enum codec *out, struct err *e);
/* Largest stored form of plain_bytes: a bound for what a store may send us. */
size_t codec_bound(enum codec codec, size_t plain_bytes);
MUST_CHECK enum rc codec_encode(enum codec codec, struct bytes plain, struct buf *out,
                                struct err *e);
/* Decode exactly plain_bytes into plain. RC_CORRUPT when it is not that. */
MUST_CHECK enum rc codec_decode(enum codec codec, struct bytes stored, uint8_t *plain,
                                size_t plain_bytes, struct err *e);

#endif
