/*
 * file - attributes, contents and extended attributes of one inode: one verb, one exchange.
 *
 * Errors as in namespace.h.
 *
 * Threads any · Blocking waits for PostgreSQL
 */
#ifndef FS_META_FILE_H
#define FS_META_FILE_H

#include "fs/meta/lane.h"
#include "fs/meta/meta.h"
#include "fs/meta/slice.h"

MUST_CHECK enum rc meta_getattr(struct meta *meta, ino_num ino, struct node_attr *out,
                                struct err *e);
MUST_CHECK enum rc meta_access(struct meta *meta, ino_num ino, uint32_t uid, const uint32_t *gids,
                               size_t gid_count, int mask, struct err *e);

/* Which members of meta_setattr are meant. */
enum setattr_mask {
    SETATTR_MODE = 1,
    SETATTR_UID = 2,
    SETATTR_GID = 4,
    SETATTR_LENGTH = 8, /* truncate, in the same exchange */
    SETATTR_ATIME = 16,
    SETATTR_MTIME = 32,
    SETATTR_ATIME_NOW = 64, /* the database's clock */
    SETATTR_MTIME_NOW = 128,
    SETATTR_FLAGS = 256,
    SETATTR_KILL_SUID = 512,  /* a write or truncate by a non-root caller */
    SETATTR_BY_HANDLE = 1024, /* through an open file: not refused when it lies in the trash */
};
struct meta_setattr {
    ino_num ino;
    uint32_t mask;
    uint32_t mode, uid, gid, flags;
    uint64_t length;
    struct timespec atime, mtime;
    uint32_t caller_uid, caller_gid; /* who asks: rules of suid/sgid clearing */
};
MUST_CHECK enum rc meta_setattr(struct meta *meta, const struct meta_setattr *what,
                                struct node_attr *out, struct err *e);

/* mode as fallocate(2); the four that the format knows, else EOPNOTSUPP. */
MUST_CHECK enum rc meta_fallocate(struct meta *meta, ino_num ino, int mode, uint64_t off,
                                  uint64_t len, struct node_attr *out, struct err *e);

/*
 * Everything a reader needs to begin: attributes, a digest over all slices of the file (equal
 * digest, length, mtime and ctime: cached data is still right), and the view of chunk 0.
 * *view may be NULL for "all zeros"; it is the caller's reference.
 */
struct meta_opened {
    struct node_attr attr;
    uint8_t digest[16];
    struct chunk_view *view;
};
MUST_CHECK enum rc meta_open_file(struct meta *meta, ino_num ino, bool for_write,
                                  struct meta_opened *out, struct err *e);

/* Views of count chunks from first: views[i] is a reference or NULL for a hole. count ≤ 16. */
MUST_CHECK enum rc meta_slices(struct meta *meta, ino_num ino, uint32_t first, uint32_t count,
                               struct chunk_view **views, struct err *e);

/* A slice whose blocks are durable: size bytes at pos of chunk indx. */
struct meta_written {
    uint32_t indx, pos, size;
    uint64_t id;
    const uint32_t *sums; /* CRC32Cs of the plaintext, one for each meta_sum_bytes() of it */
    uint32_t sums_count;
};
/*
 * Commit slices in order, in one transaction: records, references, sums, length, times.
 * ENOENT: the file is gone; the blocks are garbage.
 *
 * *doubt begins as zeros. When the call fails and doubt->is_uncertain, the slices may be committed:
 * the next call must bring the same slices and the same doubt, and finds out.
 */
MUST_CHECK enum rc meta_write(struct meta *meta, ino_num ino, const struct meta_written *slices,
                              size_t count, struct timespec mtime, bool kill_suid,
                              struct lane *doubt, struct node_attr *out, struct err *e);
/* There will be no next call: find out later, and count what was committed. *doubt is settled. */
void meta_write_given_up(struct meta *meta, struct lane *doubt);

/* The last handle here of an inode that was unlinked while open: let it go. */
MUST_CHECK enum rc meta_release(struct meta *meta, ino_num ino, struct err *e);

/* A slice id never given to anybody before. Refills its range by itself. */
MUST_CHECK enum rc meta_new_slice_id(struct meta *meta, uint64_t *out, struct err *e);

/* Append the value. ENODATA when there is none. */
MUST_CHECK enum rc meta_getxattr(struct meta *meta, ino_num ino, const char *name, struct buf *out,
                                 struct err *e);
/* Append the names, each with its NUL. */
MUST_CHECK enum rc meta_listxattr(struct meta *meta, ino_num ino, struct buf *out, struct err *e);
/* flags: XATTR_CREATE 1, XATTR_REPLACE 2. */
MUST_CHECK enum rc meta_setxattr(struct meta *meta, ino_num ino, const char *name,
                                 struct bytes value, int flags, struct err *e);
MUST_CHECK enum rc meta_removexattr(struct meta *meta, ino_num ino, const char *name,
                                    struct err *e);

/* It was read: bring its access time up to date where that is due. *out is the inode then. */
MUST_CHECK enum rc meta_touch_atime(struct meta *meta, ino_num ino, bool is_strict,
                                    struct node_attr *out, struct err *e);

#endif
