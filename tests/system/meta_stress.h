/*
 * meta_stress - many threads at one handle: for the sanitizers, and while a test cuts connections.
 */
#ifndef TESTS_SYSTEM_META_STRESS_H
#define TESTS_SYSTEM_META_STRESS_H

#include "fs/meta/meta.h"

struct meta_stress {
    unsigned threads, rounds;
    uint64_t done; /* operations */
};

/*
 * Each thread makes, writes, renames and removes files of its own in a directory of its own, while
 * another flushes and refreshes. Any surprise is an error: a name that is there although it was
 * removed, a link count or a length that is not what this thread made of it.
 */
MUST_CHECK enum rc meta_stress_run(struct meta *meta, struct meta_stress *stress, struct err *e);

#endif
