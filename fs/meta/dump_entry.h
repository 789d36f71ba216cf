/*
 * dump_entry - one inode of a dump: a row of tarn_1.dump_entries() as JSON.
 *
 * Private to fs/meta/dump*.c.
 */
#ifndef FS_META_DUMP_ENTRY_H
#define FS_META_DUMP_ENTRY_H

#include "fs/meta/dump.h"

/* Where the columns of an answer stand. */
struct dump_columns {
    int name, inode, type, has_node, flags, mode, uid, gid, atime, mtime, ctime;
    int atimensec, mtimensec, ctimensec, length, nlink, rdev, tier;
    int target, xattrs, chunks, access_acl, default_acl;
};

void dump_columns_of(const struct pg_result *page, struct dump_columns *out);

/*
 * Append the members of the row's object, without the braces: attr and whatever of symlink, xattrs,
 * ACLs and chunks there is. indent: white space before each line.
 */
MUST_CHECK enum rc dump_entry(const struct pg_result *page, int row, const struct dump_columns *c,
                              int indent, struct buf *out, struct err *e);

#endif
