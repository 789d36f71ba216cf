/*
 * base_targets - the parsers of fs/base that read foreign bytes, each as a fuzz target. A target
 * aborts on a broken promise; the sanitizers find the rest.
 */
#ifndef TESTS_FUZZ_BASE_TARGETS_H
#define TESTS_FUZZ_BASE_TARGETS_H

#include <stddef.h>
#include <stdint.h>

/* The path of a head that parses lies inside of it and begins with a slash. */
int fuzz_http_head(const uint8_t *data, size_t size);

/* A URL that is well-formed is shown without the password that it holds. */
int fuzz_url(const uint8_t *data, size_t size);

/* A document that parses can be written and parsed again, to the same. */
int fuzz_json(const uint8_t *data, size_t size);

/* Text that decodes is what its bytes encode to. */
int fuzz_base64(const uint8_t *data, size_t size);

/* Words of a command line, one a line; sizes and durations are never negative. */
int fuzz_conf(const uint8_t *data, size_t size);

#endif
