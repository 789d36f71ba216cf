/*
 * inode - the table of inodes that are open here. Closed ones cost nothing but a stamp.
 *
 * Threads   any
 * Blocking  inode_put, when it is the last: it lets an orphan go with one exchange
 */
#ifndef FS_VFS_INODE_H
#define FS_VFS_INODE_H

#include "fs/vfs/state.h"

/* The entry of ino, made if there is none; one reference for the caller. */
MUST_CHECK enum rc inode_get(struct vfs *vfs, ino_num ino, struct inode **out, struct err *e);
/* A reference if ino is open; NULL: it is not. */
struct inode *inode_find(struct vfs *vfs, ino_num ino);
void inode_ref(struct inode *inode);
/* Sets *inode to NULL; NULL is ignored. What is still pending at the last one is lost, and logged.
 */
void inode_put(struct inode **inode);
#define auto_inode __attribute__((cleanup(inode_put)))

/*
 * Take in what open answered, which was asked at `epoch`. True: the kernel may keep what it has
 * cached.
 */
bool inode_opened(struct inode *inode, const struct meta_opened *opened, uint64_t epoch);

/* Take in attributes from anywhere; a change that is not ours drops the views. */
void inode_learn_locked(struct inode *inode, const struct node_attr *attr);
/* We have changed the data: attributes from the reply, views no longer right. */
void inode_changed_locked(struct inode *inode, const struct node_attr *attr);

/* Make attributes from the database say what this mount knows better. Learns from them too. */
void inode_overlay(struct vfs *vfs, struct node_attr *attr);
/* Bytes, with those that are pending. */
uint64_t inode_length_locked(const struct inode *inode);

/* Numbers of all open inodes, for unlink and rename. The caller frees *out. */
MUST_CHECK enum rc inode_list_opened(struct vfs *vfs, ino_num **out, size_t *count, struct err *e);
/* ino has lost its last name and is kept for us. */
void inode_orphaned(struct vfs *vfs, ino_num ino);
/* ino, which may have had no name, has one now. */
void inode_named(struct vfs *vfs, ino_num ino);
/* A name in parent was replaced: any open inode that may have had it must be let go when closed. */
void inode_suspect_in(struct vfs *vfs, ino_num parent);

/* Call visit for every open inode, holding a reference and no lock. */
void inode_each(struct vfs *vfs, void (*visit)(struct inode *inode, void *arg), void *arg);

#endif
