/*
 * types - what the metadata speaks of: inodes, attributes, directory entries, slices.
 *
 * Plain values, copied freely. Numbers are as the volume format stores them (§4, §5, §7).
 */
#ifndef FS_META_TYPES_H
#define FS_META_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "fs/base/buf.h"

typedef uint64_t ino_num; /* an inode number */

#define META_ROOT        ((ino_num)1)
#define META_TRASH       ((ino_num)0x7FFFFFFF10000000)
#define META_CHUNK_BYTES ((uint64_t)64 << 20)
#define META_NAME_MAX    255
#define META_SYMLINK_MAX 4096
#define META_XATTR_MAX   65536
#define META_LENGTH_MAX  ((uint64_t)1 << 57)

/* Plaintext under one CRC32C of block_sum: 256 KiB, or a block where blocks are smaller, so that
 * every block can be checked by itself. */
static inline uint32_t meta_sum_bytes(uint32_t block_bytes)
{
    return block_bytes < 262144 ? block_bytes : 262144;
}

enum node_type {
    NODE_FILE = 1,
    NODE_DIRECTORY = 2,
    NODE_SYMLINK = 3,
    NODE_FIFO = 4,
    NODE_BLOCK = 5,
    NODE_CHAR = 6,
    NODE_SOCKET = 7,
};

enum node_flag {
    NODE_IMMUTABLE = 0x01,
    NODE_APPEND = 0x02,
    NODE_SKIP_TRASH = 0x20,
};

struct node_attr {
    ino_num ino;
    enum node_type type;
    uint32_t flags; /* enum node_flag */
    uint32_t mode;  /* 07777 */
    uint32_t uid, gid;
    uint32_t nlink;
    uint32_t rdev;
    struct timespec atime, mtime, ctime;
    uint64_t length;
    ino_num parent; /* 0: once hard-linked */
    uint32_t access_acl, default_acl, tier;
};

/* An entry of readdir; attr is complete when has_attr. */
struct dir_entry {
    uint8_t name[META_NAME_MAX];
    uint8_t name_size;
    bool has_attr;
    struct node_attr attr; /* ino and type always */
};

/* One 24-byte record of jfs_chunk.slices (§7.1): len bytes of slice id at pos in the chunk. */
struct slice_record {
    uint32_t pos;
    uint64_t id; /* 0: a hole */
    uint32_t size;
    uint32_t off;
    uint32_t len;
};

/* The sums of one slice; NULL when the volume has none for it. */
struct slice_sums {
    uint64_t id;
    uint32_t size;
    uint32_t count;       /* ceil(size / meta_sum_bytes(block size of the volume)) */
    const uint32_t *sums; /* owned by the chunk_view that holds this */
};

#endif
