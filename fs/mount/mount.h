/*
 * mount - what the parts of the FUSE program share: the vfs behind it, how long the kernel may
 * believe us, and the request handlers.
 *
 * libfuse lives in this folder only.
 *
 * Threads   the struct is constant while requests are served
 */
#ifndef FS_MOUNT_MOUNT_H
#define FS_MOUNT_MOUNT_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <string.h>

#include "fs/mount/ids.h"
#include "fs/mount/told.h"
#include "fs/vfs/vfs.h"

struct internal;

struct mount {
    struct vfs *vfs;
    struct internal *internal; /* see internal.h */
    struct told *told;
    struct ids *ids; /* NULL: everybody is who he is */
    struct fuse_session *session;
    bool has_acls;  /* the volume's setting when it was mounted */
    bool is_strict; /* the kernel is to believe nothing for longer than a request */
    double attr_seconds, entry_seconds, dir_entry_seconds; /* kernel cache times */
    double negative_seconds;                               /* of names that do not exist */
    int umask;                                             /* goes before the caller's; -1: none */
    const char *redacted_url;
    pthread_key_t read_buffer; /* each thread's buffer for replies to READ */
};

/* The mount that a request belongs to. */
static inline struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline struct bytes mount_name(const char *name)
{
    return (struct bytes){(const uint8_t *)name, strlen(name)};
}

/* Largest READ and WRITE that we take. */
#define MOUNT_IO_BYTES ((size_t)1 << 20)

/* Fill in the handlers of the file of that name. */
void ops_name_fill(struct fuse_lowlevel_ops *ops);
void ops_attr_fill(struct fuse_lowlevel_ops *ops);
void ops_xattr_fill(struct fuse_lowlevel_ops *ops);
void ops_file_fill(struct fuse_lowlevel_ops *ops);
void ops_dir_fill(struct fuse_lowlevel_ops *ops);
void ops_ioctl_fill(struct fuse_lowlevel_ops *ops);
void ops_lock_fill(struct fuse_lowlevel_ops *ops);

/* Answer with the errno of e; what and ino are for the log. */
void mount_reply_err(fuse_req_t req, const struct err *e, const char *what, fuse_ino_t ino);
/* This thread's buffer of MOUNT_IO_BYTES for replies; NULL: out of memory. */
uint8_t *mount_read_buffer(const struct mount *m);
/* The FUSE form of an entry that was looked up or made. */
struct fuse_entry_param mount_entry(const struct mount *m, const struct node_attr *attr);
/* Attributes as this machine knows them, and what the kernel is told remembered. */
void mount_stat(const struct mount *m, const struct node_attr *attr, struct stat *out);
struct vfs_caller mount_caller(fuse_req_t req);
/*
 * Groups of the caller of req in the volume's numbers, its main one first: for the rules that need
 * membership and that the kernel does not apply. The caller frees *out. Asks /proc, so not for
 * every request.
 */
size_t mount_groups(fuse_req_t req, uint32_t **out);
/*
 * The group under which who makes something in parent. A directory with setgid gives its own group
 * away, and setgid of a file with it, if the caller is a member of it by any of his groups.
 */
uint32_t mount_creator_gid(fuse_req_t req, const struct vfs_caller *who, fuse_ino_t parent,
                           mode_t mode);
/* The umask for what req makes. */
uint32_t mount_umask(fuse_req_t req);

/*
 * The value of an extended attribute by which a mount tells tools about itself (user.tarn.pid,
 * user.tarn.meta, user.tarn.version on its root): not stored, not listed. False: no such name.
 */
bool mount_identity(const struct mount *m, const char *name, char *out, size_t size);

#endif
