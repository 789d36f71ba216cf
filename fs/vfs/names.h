/*
 * names - inode numbers and attributes on their way out, and creation, for the files of fs/vfs.
 */
#ifndef FS_VFS_NAMES_H
#define FS_VFS_NAMES_H

#include "fs/vfs/state.h"

/* As vfs_mknod(), but *out still has the numbers of the volume. */
MUST_CHECK enum rc names_create(struct vfs *vfs, const struct meta_create *what,
                                struct node_attr *out, struct err *e);
/* What the kernel may see: pending writes laid over, the root renumbered. */
void names_outward(struct vfs *vfs, struct node_attr *attr);
/* The directory above dir, as the kernel numbers it; one exchange when it is not known. */
MUST_CHECK enum rc names_parent(struct vfs *vfs, ino_num dir, ino_num *out, struct err *e);

/* A cache of "..": a bounded table, indexed by a hash of the directory. */
struct dir_parent {
    ino_num dir, parent;
};
#define DIR_PARENTS 1024

#endif
