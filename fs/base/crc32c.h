/*
 * crc32c - the Castagnoli CRC (polynomial 0x1EDC6F41, reflected), by SSE4.2 or ARMv8 instructions
 * where the CPU has them, else by tables.
 *
 * Threads any · Blocking never
 * Source  RFC 3720 §12.1 and its appendix B.4 for test vectors
 */
#ifndef FS_BASE_CRC32C_H
#define FS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue crc (0 to start) over size bytes: crc32c(crc32c(0, a), b) is that of a followed by b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same without instructions: what runs on other CPUs, held against the fast one by a test. */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size);

#endif
