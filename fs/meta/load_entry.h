/*
 * load_entry - the values that describe one inode in a dump, out of their JSON.
 *
 * Private to fs/meta/load*.c.
 */
#ifndef FS_META_LOAD_ENTRY_H
#define FS_META_LOAD_ENTRY_H

#include "fs/base/json.h"
#include "fs/meta/load.h"

/* "attr". parent is left alone; the length is what the type makes it. RC_INVALID: unusable. */
MUST_CHECK enum rc load_entry_attr(const struct json *attr, struct node_attr *out, struct err *e);
/* An ACL, appended as format §11 has it. */
MUST_CHECK enum rc load_entry_acl(const struct json *acl, struct buf *out, struct err *e);
/* "xattrs": each goes to load. */
MUST_CHECK enum rc load_entry_xattrs(const struct json *xattrs, ino_num ino, struct load *load,
                                     struct err *e);
/* One element of "chunks". */
MUST_CHECK enum rc load_entry_chunk(const struct json *chunk, ino_num ino, struct load *load,
                                    struct err *e);

#endif
