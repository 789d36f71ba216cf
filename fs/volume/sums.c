#include "fs/volume/sums.h"

#include "fs/base/crc32c.h"

static uint32_t piece_count(uint32_t size, uint32_t piece_bytes)
{
    return size / piece_bytes + (size % piece_bytes != 0);
}

static uint32_t sum_piece(const uint8_t *plain, uint32_t size, uint32_t piece_bytes, uint32_t i)
{
    const uint32_t at = i * piece_bytes;
    return crc32c(0, plain + at, size - at < piece_bytes ? size - at : piece_bytes);
}

enum rc sums_check(uint32_t block_bytes, struct block_sums sums, const uint8_t *plain,
                   uint32_t size, struct err *e)
{
    if (!sums.sums)
        return RC_OK;
    const uint32_t piece_bytes = meta_sum_bytes(block_bytes);
    const uint32_t count = piece_count(size, piece_bytes);
    if (sums.count != count)
        return err_fail(e, RC_INVALID, "%u sums for a block of %u pieces", sums.count, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t found = sum_piece(plain, size, piece_bytes, i);
        if (found != sums.sums[i])
            return err_fail(e, RC_CORRUPT, "bytes from %u have the sum %08x instead of %08x",
                            i * piece_bytes, found, sums.sums[i]);
    }
    return RC_OK;
}

void volume_sum_block(const struct volume *volume, const uint8_t *plain, uint32_t size,
                      uint32_t *out)
{
    const uint32_t piece_bytes = meta_sum_bytes(volume_block_bytes(volume));
    const uint32_t count = piece_count(size, piece_bytes);
    for (uint32_t i = 0; i < count; i++)
        out[i] = sum_piece(plain, size, piece_bytes, i);
}

struct block_sums volume_block_sums(const struct volume *volume, const struct slice_sums *sums,
                                    uint32_t indx)
{
    const struct block_sums none = {NULL, 0};
    if (!sums || !sums->sums)
        return none;
    const uint32_t block_bytes = volume_block_bytes(volume);
    const uint32_t piece_bytes = meta_sum_bytes(block_bytes);
    const uint32_t size = block_size(sums->size, block_bytes, indx);
    if (size == 0 || sums->count != piece_count(sums->size, piece_bytes))
        return none;
    /* A block is a whole number of pieces, so its first piece begins with it. */
    return (struct block_sums){sums->sums + (uint64_t)indx * (block_bytes / piece_bytes),
                               piece_count(size, piece_bytes)};
}
