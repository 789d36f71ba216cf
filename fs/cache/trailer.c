#include "fs/cache/trailer.h"

#include "fs/base/crc32c.h"
#include "fs/base/wire.h"

/* The Castagnoli polynomial, bit-reflected: bit 31 is x^0. */
#define POLYNOMIAL 0x82F63B78u
#define ONE        0x80000000u

uint32_t trailer_count(uint32_t plain_bytes)
{
    return (plain_bytes + TRAILER_PIECE - 1) / TRAILER_PIECE;
}

static uint32_t piece_bytes(uint32_t left)
{
    return left < TRAILER_PIECE ? left : TRAILER_PIECE;
}

void trailer_make(const uint8_t *plain, uint32_t plain_bytes, uint8_t *out)
{
    for (uint32_t at = 0; at < plain_bytes; at += TRAILER_PIECE, out += 4)
        wire_put_u32(out, crc32c(0, plain + at, piece_bytes(plain_bytes - at)));
}

bool trailer_check(const uint8_t *trailer, uint32_t first, const uint8_t *plain, uint32_t bytes)
{
    const uint8_t *sum = trailer + (size_t)first * 4;
    for (uint32_t at = 0; at < bytes; at += TRAILER_PIECE, sum += 4) {
        if (wire_u32(sum) != crc32c(0, plain + at, piece_bytes(bytes - at)))
            return false;
    }
    return true;
}

/* a · b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = ONE; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

/* x^(8 · bytes) modulo the polynomial: what `bytes` more bytes do to a sum. */
static uint32_t shift_of(uint32_t bytes)
{
    uint32_t result = ONE;
    uint32_t square = ONE >> 8; /* x^8 */
    for (; bytes; bytes >>= 1, square = multiply(square, square)) {
        if (bytes & 1)
            result = multiply(result, square);
    }
    return result;
}

bool trailer_agrees(const uint8_t *trailer, uint32_t plain_bytes, const uint32_t *sums,
                    uint32_t count, uint32_t sum_bytes)
{
    const uint32_t whole_shift = shift_of(TRAILER_PIECE);
    uint32_t joined = 0, at = 0;

    if (count != (plain_bytes + sum_bytes - 1) / sum_bytes)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        joined = 0;
        for (uint32_t end = at + sum_bytes; at < end && at < plain_bytes; at += TRAILER_PIECE) {
            uint32_t piece = piece_bytes(plain_bytes - at);
            uint32_t shift = piece == TRAILER_PIECE ? whole_shift : shift_of(piece);
            joined = multiply(shift, joined) ^ wire_u32(trailer);
            trailer += 4;
        }
        if (joined != sums[i])
            return false;
    }
    return true;
}
