/*
 * bytes_text - amounts of bytes for people, as the tools of JuiceFS write them.
 *
 * Threads any · Blocking never
 */
#ifndef FS_VOLUME_BYTES_TEXT_H
#define FS_VOLUME_BYTES_TEXT_H

#include <stdint.h>

#define BYTES_TEXT 64

/* "12.00 KiB (12288 Bytes)" */
void bytes_text(char out[BYTES_TEXT], uint64_t bytes);

#endif
