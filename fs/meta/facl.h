/*
 * facl - access control lists of inodes: one verb, one exchange.
 *
 * An inode names its rules by number (node_attr.access_acl, .default_acl; 0: none). Rules are
 * shared and never change.
 *
 * Threads any · Blocking waits for PostgreSQL
 */
#ifndef FS_META_FACL_H
#define FS_META_FACL_H

#include "fs/meta/acl.h"
#include "fs/meta/meta.h"

enum acl_type {
    ACL_ACCESS = 1,
    ACL_DEFAULT = 2, /* of a directory: what is made in it inherits it */
};

/* The rule of that number; the caller's to free(). RC_REFUSED with EIO: there is none. */
MUST_CHECK enum rc meta_acl_rule(struct meta *meta, uint32_t id, struct acl_rule **out,
                                 struct err *e);

struct meta_setfacl {
    ino_num ino;
    enum acl_type type;
    const struct acl_rule *rule; /* NULL: remove */
    uint32_t caller_uid;
    const uint32_t *caller_gids; /* a caller outside of the file's group loses its setgid bit */
    size_t caller_gid_count;
};
/* *out is the inode as it is then: a rule that says no more than a mode becomes the mode. */
MUST_CHECK enum rc meta_setfacl(struct meta *meta, const struct meta_setfacl *what,
                                struct node_attr *out, struct err *e);

#endif
