/*
 * fixture - a volume of tests/data/fixtures as the tests of this folder need it: its bucket
 * unpacked, its format row and its chunk rows, without PostgreSQL.
 */
#ifndef TESTS_UNIT_FS_VOLUME_FIXTURE_H
#define TESTS_UNIT_FS_VOLUME_FIXTURE_H

#include "fs/base/buf.h"
#include "fs/meta/format.h"
#include "fs/volume/chain.h"

#define FIXTURE_CHUNKS_MAX 4096

struct fixture_chunk {
    uint64_t ino;
    uint32_t indx;
    struct bytes records; /* into packed */
};

struct fixture {
    char name[32];
    char directory[256]; /* what the bucket override begins with */
    char bucket[300];    /* with the pattern of the shards */
    struct format *format;
    struct buf packed;
    struct fixture_chunk chunks[FIXTURE_CHUNKS_MAX];
    unsigned chunk_count;
};

/* Unpack and read a variant; a check fails if that is not possible. */
void fixture_open(struct fixture *f, const char *name);
void fixture_close(struct fixture *f);

/* The volume as a primary sees it. */
struct volume *fixture_volume(const struct fixture *f);

#endif
