/*
 * permit - what callers may do whom the kernel takes for somebody else.
 *
 * The kernel checks permissions by the ids that it knows. A caller who acts under other ids
 * (vfs_caller.is_squashed) has to be checked again here, or not even a first time. For all others
 * every verb permits everything and asks nobody.
 *
 * Threads   any
 * Blocking  squashed callers only: one or two exchanges
 * Source    path_resolution(7), acl(5)
 */
#ifndef FS_VFS_PERMIT_H
#define FS_VFS_PERMIT_H

#include "fs/vfs/vfs.h"

enum permit { PERMIT_EXEC = 1, PERMIT_WRITE = 2, PERMIT_READ = 4 };

/* Whether an inode with these attributes grants all of mask; rule: its access list, or NULL. */
bool permit_by(const struct node_attr *attr, const struct acl_rule *rule,
               const struct vfs_caller *who, unsigned mask);

/* RC_REFUSED with EACCES. */
MUST_CHECK enum rc permit_access(struct vfs *vfs, const struct vfs_caller *who, ino_num ino,
                                 unsigned mask, struct err *e);
/* What opening with these O_* flags needs. */
MUST_CHECK enum rc permit_open(struct vfs *vfs, const struct vfs_caller *who, ino_num ino,
                               int flags, struct err *e);
/* To make a name in a directory. */
MUST_CHECK enum rc permit_add(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                              struct err *e);
/* To take a name away, or replace what has it: EPERM for somebody else's in a sticky directory. */
MUST_CHECK enum rc permit_remove(struct vfs *vfs, const struct vfs_caller *who, ino_num parent,
                                 struct bytes name, struct err *e);
/* Of the owner: EPERM for others. */
MUST_CHECK enum rc permit_owner(struct vfs *vfs, const struct vfs_caller *who, ino_num ino,
                                struct err *e);
/* by_handle: through a file that is open for writing. Takes a setgid bit out that is not his. */
MUST_CHECK enum rc permit_setattr(struct vfs *vfs, const struct vfs_caller *who,
                                  struct meta_setattr *what, bool by_handle, struct err *e);

#endif
