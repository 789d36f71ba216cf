/*
 * file - what the parts of the directory driver share: the bucket's root, the durable write, the
 * ordered walk. Private to fs/store.
 *
 * The root is held open, which pins its file system, and its path is compared at each verb: a
 * bucket that was moved away, unmounted or replaced answers RC_UNAVAILABLE, and is neither
 * created again nor written where nobody looks.
 */
#ifndef FS_STORE_FILE_H
#define FS_STORE_FILE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "fs/base/lock.h"
#include "fs/store/store.h"

/* Names that the driver gives to files which are no objects yet; listings leave them out. */
#define FILE_DRAFT_PREFIX  ".tarn-put."
#define FILE_DURABLE_SLOTS 4096

struct file_store {
    struct store base;
    char *path;
    struct lock lock; /* root_fd, dev, ino */
    int root_fd;      /* -1: not found so far */
    dev_t dev;
    ino_t ino;
    /* Hashes of directories whose way to the root this process has synced. Lossy on purpose: a slot
     * that was taken by another directory costs one more fsync. */
    _Atomic uint64_t durable[FILE_DURABLE_SLOTS];
};

/* As err_os(), but a directory that vanished under us is the store's state, not an answer. */
enum rc file_os(struct err *e, int os_errno, const char *what, const char *key);

/* Write data under key: whole, synced, then named, and the name synced. */
MUST_CHECK enum rc file_write(struct file_store *s, int root_fd, const char *key, struct bytes data,
                              struct err *e);

/* Open directory way below from_fd, making what is missing and syncing every step; way is consumed.
 * -1 and errno on failure. */
int file_make_way(int from_fd, char *way);

/* store_list() below the root. */
MUST_CHECK enum rc file_walk(int root_fd, const char *prefix, const char *after, store_visit visit,
                             void *arg, uint64_t deadline_ms, struct err *e);

#endif
