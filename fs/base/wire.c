#include "fs/base/wire.h"

struct wire_reader wire_reader(struct bytes source)
{
    return (struct wire_reader){.at = source.data, .left = source.size};
}

/* Step over size bytes and return where they begin; NULL when there are fewer. */
static const uint8_t *step(struct wire_reader *r, size_t size)
{
    if (r->is_short || size > r->left) {
        r->is_short = true;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += size;
    r->left -= size;
    return at;
}

uint16_t wire_read_u16(struct wire_reader *r)
{
    const uint8_t *at = step(r, 2);
    return at ? wire_u16(at) : 0;
}

uint32_t wire_read_u32(struct wire_reader *r)
{
    const uint8_t *at = step(r, 4);
    return at ? wire_u32(at) : 0;
}

uint64_t wire_read_u64(struct wire_reader *r)
{
    const uint8_t *at = step(r, 8);
    return at ? wire_u64(at) : 0;
}

struct bytes wire_read_bytes(struct wire_reader *r, size_t size)
{
    if (size == 0)
        return (struct bytes){r->is_short ? NULL : r->at, 0};
    const uint8_t *at = step(r, size);
    return (struct bytes){at, at ? size : 0};
}
