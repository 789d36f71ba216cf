#include "tests/unit/fs_cache/fake_volume.h"

#include "fs/base/clock.h"

void fake_block(struct block_id block, uint8_t *out)
{
    for (uint32_t i = 0; i < block.size; i++)
        out[i] = (uint8_t)((block.slice * 31 + block.indx + i) * 2654435761u >> 11);
}

uint32_t volume_block_bytes(const struct volume *volume)
{
    return volume->block_bytes;
}

const char *volume_uuid(const struct volume *volume)
{
    (void)volume;
    return "00000000-1111-2222-3333-444455556666";
}

bool volume_hash_prefix(const struct volume *volume)
{
    (void)volume;
    return false;
}

enum rc volume_get_block(struct volume *volume, struct block_id block, struct block_sums sums,
                         uint8_t *plain, uint64_t deadline_ms, struct err *e)
{
    (void)sums;
    (void)deadline_ms;
    atomic_fetch_add(&volume->fetches, 1);
    clock_sleep_until(clock_deadline(atomic_load(&volume->delay_ms)));
    enum rc rc = (enum rc)atomic_load(&volume->outcome);
    if (rc)
        return err_fail(e, rc, "as the test wants it");
    fake_block(block, plain);
    return RC_OK;
}
