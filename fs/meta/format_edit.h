/*
 * format_edit - changes of single members in the text of a format row.
 *
 * The row belongs to clients of several makes and versions. What we do not know in it must be there
 * afterwards, byte for byte and in its place; so the text is edited, and never written anew from
 * what we read of it.
 *
 * Threads   any
 * Source    volume format §2 and rule 19
 */
#ifndef FS_META_FORMAT_EDIT_H
#define FS_META_FORMAT_EDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

/*
 * Set a member to a value: in its place, or where a stock client would write it. Strings are
 * escaped. RC_INVALID when row is no JSON object; it is as before then.
 */
MUST_CHECK enum rc format_edit_string(struct buf *row, const char *name, const char *value,
                                      struct err *e);
MUST_CHECK enum rc format_edit_int(struct buf *row, const char *name, int64_t value, struct err *e);
MUST_CHECK enum rc format_edit_bool(struct buf *row, const char *name, bool value, struct err *e);
/* Take a member out, as stock clients do with most that are zero or empty. */
MUST_CHECK enum rc format_edit_remove(struct buf *row, const char *name, struct err *e);

#endif
