/*
 * acl - the rules of access control lists that this mount has met, by number.
 *
 * Rules never change, so what is here stays right; the table is bounded, and a rule that pushed
 * another one out costs one exchange when the other is wanted again.
 *
 * Threads   any
 * Blocking  a rule that is not here is fetched
 */
#ifndef FS_VFS_ACL_H
#define FS_VFS_ACL_H

#include "fs/base/lock.h"
#include "fs/meta/facl.h"

#define ACL_SLOTS 256

struct acl_slot {
    uint32_t id; /* 0: free */
    struct acl_rule *rule;
};

struct acl_table {
    struct lock lock; /* guards the slots */
    struct acl_slot slots[ACL_SLOTS];
};

void acl_table_init(struct acl_table *table);
void acl_table_deinit(struct acl_table *table);

#endif
