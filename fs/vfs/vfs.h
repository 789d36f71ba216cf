/*
 * vfs - a mounted volume without FUSE: inodes, handles, reading, writing.
 *
 * What it promises:
 *   - close-to-open: open() fetches attributes and slices anew; data cached from an earlier open is
 *     used only if ctime, mtime, length and digest are equal;
 *   - a read sees every write made through this vfs before it;
 *   - vfs_fsync() == RC_OK: blocks are stored and the slices committed; it survives this process;
 *   - an error of an upload or commit is reported by the next fsync, flush or close of the file,
 *     and what could not be committed is never half visible.
 *
 * Threads   every verb from any thread
 * Blocking  every verb may wait for PostgreSQL and the store; called by FUSE threads
 */
#ifndef FS_VFS_VFS_H
#define FS_VFS_VFS_H

#include "fs/cache/block.h"
#include "fs/meta/facl.h"
#include "fs/meta/file.h"
#include "fs/meta/namespace.h"
#include "fs/meta/statfs.h"
#include "fs/volume/volume.h"

struct vfs;
struct vfs_file; /* an open file */
struct vfs_dir;  /* an open directory */

/* When reading changes access times (as mount(8)'s options of these names). */
enum atime_mode { ATIME_NEVER, ATIME_RELATIVE, ATIME_STRICT };

struct vfs_options {
    struct volume *volume;     /* outlives the vfs */
    struct block_cache *cache; /* outlives the vfs */
    uint64_t buffer_bytes;     /* write buffers and read-ahead together; JuiceFS's 300 MiB */
    uint64_t readahead_bytes;  /* at most, for one handle */
    unsigned max_uploads;      /* parallel puts; 0: 20 */
    bool is_read_only;
    bool has_fast_statfs; /* from numbers of the last heartbeat */
    enum atime_mode atime;
    uint64_t attr_ms; /* how long the kernel may believe attributes */
    ino_num root;     /* META_ROOT, or the inode of --subdir */
};

MUST_CHECK enum rc vfs_open(struct vfs **out, const struct vfs_options *options, struct err *e);
/* Flush every file, flush usage; says what could not be written. The handle is gone in any case. */
MUST_CHECK enum rc vfs_close(struct vfs **vfs, struct err *e);

/* Who asks. */
struct vfs_caller {
    uint32_t uid, gid, pid;
    bool is_squashed; /* the kernel knows another one: permissions are checked by permit.h */
};

/* ---- names: META_ROOT in and out is the mount's root whatever --subdir says ---- */
MUST_CHECK enum rc vfs_lookup(struct vfs *vfs, ino_num parent, struct bytes name,
                              struct node_attr *out, struct err *e);
MUST_CHECK enum rc vfs_mknod(struct vfs *vfs, const struct vfs_caller *who,
                             const struct meta_create *what, struct node_attr *out, struct err *e);
MUST_CHECK enum rc vfs_unlink(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                              struct bytes name, struct err *e);
MUST_CHECK enum rc vfs_rmdir(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                             struct bytes name, struct err *e);
MUST_CHECK enum rc vfs_rename(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                              struct bytes name, ino_num new_parent, struct bytes new_name,
                              uint32_t flags, struct err *e);
MUST_CHECK enum rc vfs_link(struct vfs *vfs, ino_num ino, ino_num parent, struct bytes name,
                            struct node_attr *out, struct err *e);
MUST_CHECK enum rc vfs_readlink(struct vfs *vfs, ino_num ino, struct buf *out, struct err *e);

/* ---- attributes; length and times include writes that are still buffered here ---- */
MUST_CHECK enum rc vfs_getattr(struct vfs *vfs, ino_num ino, struct node_attr *out, struct err *e);
/*
 * The attributes of a directory that the kernel asks for because this mount has just changed a name
 * in it, to be believed for *valid_ms. Without an exchange; false: vfs_getattr() must be asked.
 * They hold our own changes, and those of others up to an attribute timeout ago (dirs.h).
 */
bool vfs_getattr_owed(struct vfs *vfs, ino_num ino, struct node_attr *out, uint64_t *valid_ms);
MUST_CHECK enum rc vfs_setattr(struct vfs *vfs, const struct meta_setattr *what,
                               struct node_attr *out, struct err *e);
/* ino: a directory whose quotas limit what is shown, or a file in one. */
MUST_CHECK enum rc vfs_statfs(struct vfs *vfs, ino_num ino, struct meta_statfs *out,
                              struct meta_quota_room *room, struct err *e);
MUST_CHECK enum rc vfs_access(struct vfs *vfs, const struct vfs_caller *who, ino_num ino, int mask,
                              struct err *e);
MUST_CHECK enum rc vfs_getxattr(struct vfs *vfs, ino_num ino, const char *name, struct buf *out,
                                struct err *e);
MUST_CHECK enum rc vfs_listxattr(struct vfs *vfs, ino_num ino, struct buf *out, struct err *e);
MUST_CHECK enum rc vfs_setxattr(struct vfs *vfs, ino_num ino, const char *name, struct bytes value,
                                int flags, struct err *e);
MUST_CHECK enum rc vfs_removexattr(struct vfs *vfs, ino_num ino, const char *name, struct err *e);
/* The access control list of that number, as attributes name it; the caller's to free(). */
MUST_CHECK enum rc vfs_acl_rule(struct vfs *vfs, uint32_t id, struct acl_rule **out, struct err *e);
MUST_CHECK enum rc vfs_setfacl(struct vfs *vfs, const struct meta_setfacl *what,
                               struct node_attr *out, struct err *e);

/* ---- files ---- */
/* flags: O_* of open(2). *keep_cache: what the kernel has cached of this inode is still right. */
MUST_CHECK enum rc vfs_open_file(struct vfs *vfs, ino_num ino, int flags, struct vfs_file **out,
                                 bool *keep_cache, struct err *e);
/* Create and open in one exchange; with O_EXCL in flags EEXIST when there is one, else opens it. */
MUST_CHECK enum rc vfs_create(struct vfs *vfs, const struct vfs_caller *who,
                              const struct meta_create *what, int flags, struct node_attr *attr,
                              struct vfs_file **out, struct err *e);
/*
 * Make and open a file in what->parent that has no name (open(2) with O_TMPFILE). vfs_link() may
 * give it one while it is open; else it is gone with its last handle.
 */
MUST_CHECK enum rc vfs_tmpfile(struct vfs *vfs, const struct meta_create *what, int flags,
                               struct node_attr *attr, struct vfs_file **out, struct err *e);
/* Read up to size bytes at off; *got < size only at the end of the file. */
MUST_CHECK enum rc vfs_read(struct vfs_file *file, uint64_t off, size_t size, uint8_t *out,
                            size_t *got, struct err *e);
/* Buffer size bytes at off. Waits while the write buffers are full. */
MUST_CHECK enum rc vfs_write(struct vfs_file *file, const struct vfs_caller *who, uint64_t off,
                             struct bytes data, struct err *e);
/*
 * Whether a write fits a file that may only grow, when the handle was opened after it became so:
 * flags are the handle's now, and pages of a map lie anywhere. EPERM.
 */
MUST_CHECK enum rc vfs_check_append(struct vfs_file *file, int flags, bool is_page, struct err *e);
/* Make everything written so far durable and visible. vfs_flush() is close(2)'s: the same. */
MUST_CHECK enum rc vfs_fsync(struct vfs_file *file, struct err *e);
MUST_CHECK enum rc vfs_fallocate(struct vfs_file *file, int mode, uint64_t off, uint64_t len,
                                 struct err *e);
/* SEEK_DATA / SEEK_HOLE. ENXIO past the end. */
MUST_CHECK enum rc vfs_lseek(struct vfs_file *file, uint64_t off, int whence, uint64_t *out,
                             struct err *e);
/* The file as this mount knows it: as of its last open or change here, with pending writes. */
void vfs_file_attr(struct vfs_file *file, struct node_attr *out);
/* The last close: flushes what is left, logs what fails. Sets *file to NULL. */
void vfs_release(struct vfs_file **file);

/* ---- directories ---- */
MUST_CHECK enum rc vfs_opendir(struct vfs *vfs, ino_num ino, struct vfs_dir **out, struct err *e);
/*
 * The entry at position offset (0, then each entry's next_offset), "." and ".." first. *out is
 * borrowed until the next call on the handle; NULL at the end. *age_ms: how long ago it was asked
 * for; UINT64_MAX if this mount has changed it since. Stable under concurrent change: an entry that
 * exists throughout is seen exactly once.
 */
MUST_CHECK enum rc vfs_readdir(struct vfs_dir *dir, uint64_t offset, bool with_attr,
                               const struct dir_entry **out, uint64_t *age_ms,
                               uint64_t *next_offset, struct err *e);
void vfs_releasedir(struct vfs_dir **dir);

/* Call notify(ino) when the kernel's cached data and attributes of ino must go; set once at start.
 */
void vfs_on_invalidate(struct vfs *vfs, void (*notify)(void *arg, ino_num ino), void *arg);
/* Whom to tell what this mount leaves behind (fs/upkeep/jobs.h says what becomes of it). */
struct vfs_upkeep {
    /* A file was removed for good here, so that its data is to go; is_certain false: perhaps. */
    void (*removed)(void *arg, bool is_certain);
    /* A chunk has so many records that it should be compacted; waits: before this returns. */
    void (*crowded)(void *arg, ino_num ino, uint32_t indx, bool waits);
    void *arg;
};
/* Set once at start, on a read-write mount; NULL: nobody any more. */
void vfs_on_upkeep(struct vfs *vfs, const struct vfs_upkeep *upkeep);

/* Call gone(why) once when the database holds another volume now: the mount must end. */
void vfs_on_gone(struct vfs *vfs, void (*gone)(void *arg, const struct err *why), void *arg);

#endif
