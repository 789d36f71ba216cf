/*
 * meta_targets - the parsers of fs/meta that read foreign bytes, each as a fuzz target. A target
 * aborts on a broken promise; the sanitizers find the rest.
 */
#ifndef TESTS_FUZZ_META_TARGETS_H
#define TESTS_FUZZ_META_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* Byte 0 chooses the form; a list that is read is written back to the same bytes. */
int fuzz_acl(const uint8_t *data, size_t size);

#endif
