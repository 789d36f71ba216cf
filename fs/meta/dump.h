/*
 * dump - the metadata of a volume as one JSON document, in the form of JuiceFS.
 *
 * Written as it is read, a page of a directory at a time and from one snapshot, so that its size
 * does not matter and nothing changes under it. What is held is a page for each level of depth.
 *
 * Names, targets of links and values of attributes are bytes: white space, quotes, backslashes, "%"
 * and what is no UTF-8 stand as %XX.
 *
 * Threads   as struct pg
 * Blocking  waits for PostgreSQL and for the sink
 * Source    JuiceFS 1.4, `juicefs dump`; volume format §14
 */
#ifndef FS_META_DUMP_H
#define FS_META_DUMP_H

#include <stdbool.h>

#include "fs/meta/pg.h"
#include "fs/meta/types.h"

/* Take a piece of the document; an error ends the dump. */
typedef enum rc (*dump_sink)(void *arg, struct bytes piece, struct err *e);

struct dump_options {
    const char *subdir; /* NULL or "": the whole volume, with the limits of owners and the trash */
    bool skip_trash, keep_secrets;
    dump_sink sink;
    void *arg;
    void (*progress)(void *arg, uint64_t entries); /* NULL: nobody looks */
};

struct dump_result {
    uint64_t entries; /* names, the roots included */
    uint64_t corrupt; /* of those left out because their node is missing */
    bool has_secrets; /* of those replaced by "removed" */
};

/*
 * RC_NOT_FOUND  there is no such subdir
 * RC_INVALID    the tree is deeper than any tree can be: it has a cycle
 */
MUST_CHECK enum rc dump_write(struct pg *pg, const struct dump_options *options,
                              struct dump_result *out, struct err *e);

/* Append bytes as text without characters that JSON would have to escape. */
MUST_CHECK enum rc dump_escape(struct bytes text, struct buf *out, struct err *e);
/* Append the bytes that an escaped text stands for. */
MUST_CHECK enum rc dump_unescape(struct bytes text, struct buf *out, struct err *e);

#endif
