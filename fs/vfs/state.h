/*
 * state - what the files of fs/vfs share: the vfs itself and its open inodes.
 *
 * Locks, outermost first: the table (which inodes are open, reference counts, stamps of closed
 * ones), then one inode. None is held across an exchange or a transfer; whoever comes back from
 * one compares inode.epoch to learn whether the world moved meanwhile.
 */
#ifndef FS_VFS_STATE_H
#define FS_VFS_STATE_H

#include <stdatomic.h>

#include "fs/base/hash.h"
#include "fs/base/lock.h"
#include "fs/base/pool.h"
#include "fs/vfs/acl.h"
#include "fs/vfs/dirs.h"
#include "fs/vfs/keep.h"
#include "fs/vfs/readahead.h"
#include "fs/vfs/recent.h"
#include "fs/vfs/vfs.h"
#include "fs/vfs/view.h"

struct lock_table;
struct write_slice;
struct chores;

/* What has been written and not been committed; see writer.c. */
struct writer {
    struct write_slice *first, *last; /* in the order of their creation */
    uint32_t count;
    uint32_t uploads; /* blocks that are queued or on their way */
    uint64_t next_seq;
    uint64_t attempts;       /* uploads that were queued so far */
    uint64_t spare_id;       /* a slice id fetched in advance; 0: none */
    uint64_t end;            /* furthest byte pending; 0: none */
    struct timespec written; /* time of the last write */
    unsigned pausers;        /* new writes wait while there are any */
    bool is_committing;
    struct lane doubt;    /* of the committer: is_uncertain: the last commit may have been done */
    size_t doubted_count; /* of its slices, the first ones; to be repeated as they are */
    bool kill_suid;
    struct err *trouble; /* the last failed upload; NULL: none */
    const char *lost;    /* why what was written is gone: sticky until the last close; or NULL */
};

struct inode {
    /* set at open */
    struct vfs *vfs;
    ino_num ino;
    unsigned refs; /* of the table's lock */

    struct lock lock;         /* guards the rest */
    struct lock_cond changed; /* an upload or commit ended, or a pause */
    struct node_attr attr;    /* as last seen, without pending writes */
    uint64_t learned_ms;      /* when attr was last taken over */
    bool has_attr;
    bool has_stamp;    /* stamp describes all that the kernel may have cached */
    bool is_orphan;    /* has lost its last name here: release it at the last close */
    bool is_suspect;   /* may have: a name was replaced where it had one */
    bool wants_notice; /* the kernel's pages of it are wrong */
    uint64_t epoch;    /* grows whenever views fetched before became invalid */
    struct keep_stamp stamp;
    struct views views;
    struct writer writer;
    struct vfs_file *files;
};

struct vfs_file {
    struct vfs *vfs;
    struct inode *inode;
    bool is_writable;
    bool is_silent;                     /* its reads leave the access time alone */
    bool is_append;                     /* opened when the file could only grow */
    struct readahead readahead;         /* of the inode's lock */
    struct vfs_file *next, **back_link; /* list of the inode, of its lock */
};

struct vfs {
    /* set at open */
    struct volume *volume;
    struct meta *meta;
    struct block_cache *cache;
    struct memory *memory;
    uint32_t block_bytes;
    uint64_t readahead_bytes;
    bool is_read_only, has_fast_statfs;
    enum atime_mode atime;
    uint64_t attr_ms;
    ino_num root;
    struct pool *uploads, *commits, *keepers;
    struct pool *listers; /* ask for pages of directories ahead */
    struct chores *chores;
    struct acl_table acls; /* safe by itself */
    struct dirs *dirs;     /* safe by itself */
    struct recent *recent; /* safe by itself */
    struct lock_table *locks;

    struct lock table; /* guards inodes, their refs, keep, parents, open_dirs and the callbacks */
    struct map64 *inodes;
    struct keep_table *keep;
    struct dir_parent *parents; /* see names.c */
    struct vfs_dir *open_dirs;
    void (*notify)(void *arg, ino_num ino);
    void *notify_arg;
    void (*gone)(void *arg, const struct err *why);
    void *gone_arg;

    _Atomic uint32_t queued_uploads;
    _Atomic uint64_t quickest_page_ms; /* of directories; UINT64_MAX: none yet */
    struct lock tick_lock;             /* guards is_closing */
    struct lock_cond tick;
    bool is_closing;
};

/* Release the directories that are still open, when nobody uses them any more. */
void vfs_release_dirs(struct vfs *vfs);

/* RC_REFUSED with EROFS on a read-only mount, and while the primary is away from this site. */
MUST_CHECK enum rc vfs_check_writable(const struct vfs *vfs, struct err *e);

/* The number inside the volume of one that the kernel uses. */
static inline ino_num vfs_inside(const struct vfs *vfs, ino_num ino)
{
    return ino == META_ROOT ? vfs->root : ino;
}

static inline int timespec_order(struct timespec a, struct timespec b)
{
    if (a.tv_sec != b.tv_sec)
        return a.tv_sec < b.tv_sec ? -1 : 1;
    return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

#endif
