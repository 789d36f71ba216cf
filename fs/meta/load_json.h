/*
 * load_json - the reader of dumps in JuiceFS's JSON form: a document of any size into a load.
 *
 * Threads   one at a time
 * Blocking  waits for the source and for PostgreSQL
 * Source    JuiceFS 1.4, `juicefs load`; volume format §14
 */
#ifndef FS_META_LOAD_JSON_H
#define FS_META_LOAD_JSON_H

#include "fs/base/json_stream.h"
#include "fs/meta/load.h"

struct load_document {
    struct buf setting, counters;                  /* out: their JSON */
    uint64_t entries;                              /* out: names, the roots included */
    void (*progress)(void *arg, uint64_t entries); /* NULL: nobody looks */
    void *arg;
};

/*
 * Read the whole document. The root of a sub-directory's dump becomes the root.
 *
 * RC_INVALID  it is not a dump, says which part is not
 */
MUST_CHECK enum rc load_json(struct json_stream *from, struct load *load,
                             struct load_document *document, struct err *e);

#endif
