#include "fs/upkeep/delete.h"

enum rc delete_slice_objects(struct volume *volume, uint64_t slice, uint32_t size,
                             uint64_t deadline_ms, struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(volume);
    const uint32_t count = block_count(size, block_bytes);
    for (uint32_t i = 0; i < count; i++) {
        const struct block_id block = {slice, i, block_size(size, block_bytes, i)};
        if (volume_remove_block(volume, block, deadline_ms, e))
            return err_note(e, "could not remove slice %llu", (unsigned long long)slice);
    }
    return RC_OK;
}
