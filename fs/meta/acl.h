/*
 * acl - a POSIX access control list in its three forms: the rule in memory, the bytes of the volume
 * format, and the extended attribute that the kernel reads and writes.
 *
 *   format (§11)   u16 owner, group, mask, other; u32 n, n × (u32 id, u16 bits) for users, and the
 *                  same for groups; big-endian
 *   attribute      u32 version 2, then entries u16 tag, u16 bits, u32 id; little-endian, in the
 *                  order owner, users, group, groups, mask, other
 *
 * A rule is minimal when it says no more than nine permission bits do: no named entries, no mask.
 *
 * Threads   any · Blocking never
 * Source    acl(5); linux/posix_acl_xattr.h; volume format §11
 */
#ifndef FS_META_ACL_H
#define FS_META_ACL_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"

/* In place of three permission bits: the rule has no such entry. */
#define ACL_UNSET 0xFFFFu

/* An extended attribute is 64 KiB at most, so there are fewer entries than this. */
#define ACL_ENTRIES_MAX 8192

/* Room for the larger of the two byte forms of any rule. */
#define ACL_BYTES_MAX ((size_t)72 << 10)

struct acl_entry {
    uint32_t id;
    uint16_t bits; /* r 4, w 2, x 1 */
};

/* One allocation: free() releases it. Users come first in entries, then groups. */
struct acl_rule {
    uint16_t owner, group, mask, other; /* bits; mask may be ACL_UNSET */
    uint32_t user_count, group_count;
    struct acl_entry entries[];
};

/* Read the format's bytes. *out is the caller's. RC_CORRUPT: they are not a rule. */
MUST_CHECK enum rc acl_decode(struct bytes encoded, struct acl_rule **out, struct err *e);
/* Append the format's bytes. */
MUST_CHECK enum rc acl_encode(const struct acl_rule *rule, struct buf *out, struct err *e);

/*
 * Read the attribute, with Linux's rules: entries in order, one of owner, group and other each, a
 * mask where anybody is named. *out is the caller's, and NULL for an attribute without entries,
 * which asks to remove the list.
 *
 * RC_REFUSED  EINVAL, or EOPNOTSUPP for another version
 */
MUST_CHECK enum rc acl_from_attribute(struct bytes value, struct acl_rule **out, struct err *e);
/* Append the attribute. */
MUST_CHECK enum rc acl_to_attribute(const struct acl_rule *rule, struct buf *out, struct err *e);

/* A copy for the caller; NULL without memory. */
struct acl_rule *acl_copy(const struct acl_rule *rule);

#endif
