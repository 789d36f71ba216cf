/*
 * volume_targets - fuzz targets for the parsers of fs/volume.
 *
 * A target returns 0 and aborts on a broken promise.
 */
#ifndef TESTS_FUZZ_VOLUME_TARGETS_H
#define TESTS_FUZZ_VOLUME_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* A request that parses points into its message, and comes back from composing it. */
int fuzz_control(const uint8_t *data, size_t size);

#endif
