#include "syncer/copy.h"

#include <inttypes.h>
#include <stdlib.h>

#include "fs/base/clock.h"
#include "fs/base/crc32c.h"
#include "fs/base/metric.h"

#define BLOCK_MS 120000

METRIC_DEFINE(copied_blocks, METRIC_COUNTER, "tarn_sync_blocks_copied_total", NULL,
              "Blocks copied from the origin and verified here")
METRIC_DEFINE(copied_bytes, METRIC_COUNTER, "tarn_sync_bytes_copied_total", NULL,
              "Plaintext bytes of the blocks that were copied")
METRIC_DEFINE(present_blocks, METRIC_COUNTER, "tarn_sync_blocks_present_total", NULL,
              "Blocks that were here already and good")
METRIC_DEFINE(deleted_blocks, METRIC_COUNTER, "tarn_sync_blocks_deleted_total", NULL,
              "Blocks removed because their slice was deleted")

struct copier {
    struct volume *volume;
    uint8_t *block;    /* what the origin has */
    uint8_t *readback; /* what this site has */
};

struct store *copier_to(struct volume *volume)
{
    struct store *local = volume_local(volume);
    return local || !volume_former(volume) ? local : volume_origin(volume);
}

struct store *copier_from(struct volume *volume)
{
    return volume_local(volume) ? volume_origin(volume) : volume_former(volume);
}

enum rc copier_open(struct copier **out, struct volume *volume, struct err *e)
{
    struct copier *c = calloc(1, sizeof(*c));
    if (!c)
        return err_fail(e, RC_NO_SPACE, "could not allocate a copier");
    c->volume = volume;
    c->block = malloc(volume_block_bytes(volume));
    c->readback = malloc(volume_block_bytes(volume));
    if (!c->block || !c->readback) {
        copier_close(&c);
        return err_fail(e, RC_NO_SPACE, "could not allocate block buffers");
    }
    *out = c;
    return RC_OK;
}

void copier_close(struct copier **copier)
{
    struct copier *c = *copier;
    if (!c)
        return;
    free(c->readback);
    free(c->block);
    free(c);
    *copier = NULL;
}

/*
 * Is this block here and good? At a mirror a slice without sums can only be compared with the
 * origin's bytes, so for it the answer is no. At a primary what is here was written here.
 */
static bool is_present(struct copier *c, struct block_id block, struct block_sums sums)
{
    struct err ignored = ERR_INIT;
    return (sums.sums || volume_former(c->volume)) &&
           volume_get_block_from(c->volume, copier_to(c->volume), block, sums, c->readback,
                                 clock_deadline(BLOCK_MS), &ignored) == RC_OK;
}

static enum rc copy_block(struct copier *c, struct block_id block, struct block_sums sums,
                          struct err *e)
{
    if (is_present(c, block, sums)) {
        metric_add(&present_blocks, 1);
        return RC_OK;
    }
    uint64_t deadline = clock_deadline(BLOCK_MS);
    struct store *local = copier_to(c->volume);
    struct store *origin = copier_from(c->volume);
    if (!origin)
        return err_fail(e, RC_UNAVAILABLE, "the origin store cannot be reached");
    if (volume_get_block_from(c->volume, origin, block, sums, c->block, deadline, e))
        return err_note(e, "could not read from the origin");
    if (volume_put_block_to(c->volume, local, block, c->block, deadline, e))
        return err_note(e, "could not write here");
    if (volume_get_block_from(c->volume, local, block, sums, c->readback, deadline, e))
        return err_note(e, "could not read back");
    if (crc32c(0, c->block, block.size) != crc32c(0, c->readback, block.size))
        return err_fail(e, RC_CORRUPT, "block %" PRIu64 "_%u reads back differently", block.slice,
                        block.indx);
    metric_add(&copied_blocks, 1);
    metric_add(&copied_bytes, block.size);
    return RC_OK;
}

static enum rc delete_block(struct copier *c, struct block_id block, struct err *e)
{
    char key[BLOCK_KEY_BYTES];
    block_key(key, volume_hash_prefix(c->volume), block);
    if (store_remove(copier_to(c->volume), key, clock_deadline(BLOCK_MS), e))
        return err_note(e, "could not remove block %s", key);
    metric_add(&deleted_blocks, 1);
    return RC_OK;
}

enum rc copier_run(struct copier *c, const struct order *order, copy_still_ours still_ours,
                   void *arg, struct err *e)
{
    const uint32_t block_bytes = volume_block_bytes(c->volume);
    const struct slice_sums sums = {order->slice, order->size, order->sums_count, order->sums};

    for (uint32_t i = 0; i < block_count(order->size, block_bytes); i++) {
        const struct block_id block = {order->slice, i, block_size(order->size, block_bytes, i)};
        if (still_ours(arg, e))
            return e->code;
        enum rc rc =
            order_removes(order)
                ? delete_block(c, block, e)
                : copy_block(c, block, volume_block_sums(c->volume, order->sums ? &sums : NULL, i),
                             e);
        if (rc)
            return err_note(e, "slice %" PRIu64 ", block %u", order->slice, i);
    }
    return RC_OK;
}
