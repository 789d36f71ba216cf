/*
 * store_targets - the parsers of fs/store that read foreign bytes, each as a fuzz target. A target
 * aborts on a broken promise; the sanitizers find the rest.
 */
#ifndef TESTS_FUZZ_STORE_TARGETS_H
#define TESTS_FUZZ_STORE_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* A key that parses is one that block_key() writes. */
int fuzz_block_key(const uint8_t *data, size_t size);

/* The parts of an envelope lie inside the object and cover it. */
int fuzz_envelope(const uint8_t *data, size_t size);

/* Byte 0 chooses the codec, bytes 1 and 2 the plaintext length; the rest is the stored block. */
int fuzz_codec(const uint8_t *data, size_t size);

#endif
