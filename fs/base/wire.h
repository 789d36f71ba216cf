/*
 * wire - big-endian integers in byte strings, and a cursor that cannot read past the end.
 *
 * Threads any · Blocking never
 */
#ifndef FS_BASE_WIRE_H
#define FS_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/buf.h"

static inline void wire_put_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void wire_put_u32(uint8_t *at, uint32_t v)
{
    wire_put_u16(at, (uint16_t)(v >> 16));
    wire_put_u16(at + 2, (uint16_t)v);
}

static inline void wire_put_u64(uint8_t *at, uint64_t v)
{
    wire_put_u32(at, (uint32_t)(v >> 32));
    wire_put_u32(at + 4, (uint32_t)v);
}

static inline uint16_t wire_u16(const uint8_t *at)
{
    return (uint16_t)((at[0] << 8) | at[1]);
}

static inline uint32_t wire_u32(const uint8_t *at)
{
    return ((uint32_t)wire_u16(at) << 16) | wire_u16(at + 2);
}

static inline uint64_t wire_u64(const uint8_t *at)
{
    return ((uint64_t)wire_u32(at) << 32) | wire_u32(at + 4);
}

/*
 * A cursor over borrowed bytes. A read past the end yields zeros and sets is_short for good, so
 * a parser may read a whole record and check once.
 */
struct wire_reader {
    const uint8_t *at;
    size_t left;
    bool is_short;
};

struct wire_reader wire_reader(struct bytes source);
uint16_t wire_read_u16(struct wire_reader *r);
uint32_t wire_read_u32(struct wire_reader *r);
uint64_t wire_read_u64(struct wire_reader *r);
/* size bytes, borrowed; {NULL, 0} when short. */
struct bytes wire_read_bytes(struct wire_reader *r, size_t size);

#endif
