/*
 * scratch - what the tests of stores share: a directory of their own, sample bytes, an object
 * model.
 */
#ifndef TESTS_UNIT_FS_STORE_SCRATCH_H
#define TESTS_UNIT_FS_STORE_SCRATCH_H

#include "fs/base/buf.h"
#include "fs/store/layers.h"

#define SCRATCH_PATH 256

/* Make an empty directory and write its path. */
void scratch_dir(char out[SCRATCH_PATH]);

/* out = directory/name. */
void scratch_join(char out[SCRATCH_PATH], const char *directory, const char *name);

/* Open a file store in a fresh directory. */
struct store *scratch_store(char directory[SCRATCH_PATH]);

/* size bytes that depend on seed. Half of them compress. */
void scratch_fill(uint8_t *out, size_t size, uint64_t seed);

/* Put and get with a minute's patience. A get that fails leaves out empty. */
enum rc scratch_put(struct store *s, const char *key, const char *text);
enum rc scratch_get(struct store *s, const char *key, struct buf *out);

/* Is the object exactly text? */
bool scratch_holds(struct store *s, const char *key, const char *text);

/* Write a file as somebody else would, past the store. */
void scratch_write_file(const char *directory, const char *name, struct bytes data);

#endif
