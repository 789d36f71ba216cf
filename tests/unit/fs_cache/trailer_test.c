#include "fs/cache/trailer.h"

#include <stdlib.h>

#include "fs/base/crc32c.h"
#include "tests/unit/check.h"

enum { SUM_BYTES = 262144, MOST = 1 << 20 };

static uint8_t *filled(uint32_t size)
{
    uint8_t *data = malloc(size);
    for (uint32_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    return data;
}

static uint32_t sums_of(const uint8_t *data, uint32_t size, uint32_t *sums)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < size; at += SUM_BYTES)
        sums[count++] = crc32c(0, data + at, size - at < SUM_BYTES ? size - at : SUM_BYTES);
    return count;
}

static const uint32_t sizes[] = {1,      4,      32767,  32768,  32769,  65536,    100000,
                                 262143, 262144, 262145, 294912, 500001, MOST - 1, MOST};

TEST("a trailer matches the bytes it was made of, and no others")
{
    auto_free uint8_t *data = filled(MOST);
    uint8_t trailer[4 * MOST / TRAILER_PIECE];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        trailer_make(data, sizes[i], trailer);
        CHECK(trailer_check(trailer, 0, data, sizes[i]));
        data[sizes[i] - 1] ^= 1;
        CHECK(!trailer_check(trailer, 0, data, sizes[i]));
        data[sizes[i] - 1] ^= 1;
    }
}

TEST("pieces in the middle can be checked alone")
{
    auto_free uint8_t *data = filled(MOST);
    uint8_t trailer[4 * MOST / TRAILER_PIECE];

    trailer_make(data, MOST, trailer);
    CHECK(trailer_check(trailer, 3, data + 3 * TRAILER_PIECE, 2 * TRAILER_PIECE));
    CHECK(!trailer_check(trailer, 2, data + 3 * TRAILER_PIECE, 2 * TRAILER_PIECE));
}

TEST("the sums of a trailer, joined, are the sums of the block")
{
    auto_free uint8_t *data = filled(MOST);
    uint8_t trailer[4 * MOST / TRAILER_PIECE];
    uint32_t sums[MOST / SUM_BYTES];

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t count = sums_of(data, sizes[i], sums);
        trailer_make(data, sizes[i], trailer);
        CHECK(trailer_agrees(trailer, sizes[i], sums, count, SUM_BYTES));
        sums[count - 1] ^= 0x10;
        CHECK(!trailer_agrees(trailer, sizes[i], sums, count, SUM_BYTES));
    }
}

TEST("sums of another number of bytes do not agree")
{
    auto_free uint8_t *data = filled(MOST);
    uint8_t trailer[4 * MOST / TRAILER_PIECE];
    uint32_t sums[MOST / SUM_BYTES];

    uint32_t count = sums_of(data, MOST, sums);
    trailer_make(data, MOST, trailer);
    CHECK(!trailer_agrees(trailer, MOST, sums, count - 1, SUM_BYTES));
}
