/*
 * flaw - what is wrong with a volume's names, nodes and accounts, page by page, and how each kind
 * is mended.
 *
 * The checks are SQL functions of one shape (schema/api/71_check.sql). A page is one snapshot; what
 * clients count lazily may lag behind in it, so the caller asks again before it believes.
 *
 * Threads   any
 * Blocking  waits for PostgreSQL
 */
#ifndef FS_META_FLAW_H
#define FS_META_FLAW_H

#include "fs/meta/meta.h"

/* The checks, in the order in which their repairs should be made. */
enum flaw_check {
    FLAW_EDGES,
    FLAW_CYCLES,
    FLAW_NODES,
    FLAW_XATTRS,
    FLAW_SYMLINKS,
    FLAW_STATS,
    FLAW_QUOTAS,
    FLAW_USAGE,
    FLAW_CHECKS,
};

struct flaw {
    enum flaw_check check;
    char kind[16]; /* "nlink", "orphan", "cycle", … */
    ino_num ino;
    int64_t key;        /* what else names it: an edge, a column */
    int64_t have, want; /* as the kind means them */
    int64_t stamp;      /* of lazy accounts: the last change of what they count */
    char detail[512];   /* a name, escaped, or "" */
};
typedef enum rc (*flaw_visit)(const struct flaw *flaw, void *arg, struct err *e);

/*
 * One page of a check behind *after; *is_end says that it was the last. With only (not NULL) these
 * keys alone: inodes, or for FLAW_EDGES and FLAW_XATTRS ids of rows.
 */
MUST_CHECK enum rc flaw_page(struct meta *meta, enum flaw_check check, const int64_t *only,
                             size_t only_count, int64_t *after, bool *is_end, flaw_visit visit,
                             void *arg, struct err *e);

/* The key by which a check can be asked for this flaw alone. */
int64_t flaw_key(const struct flaw *flaw);
/* Whether clients account for it lazily, so that it may be on its way. */
bool flaw_is_lazy(enum flaw_check check);

/* Mend it, as far as it is still there. *done: something was changed. */
MUST_CHECK enum rc flaw_repair(struct meta *meta, const struct flaw *flaw, bool *done,
                               struct err *e);

/* A name in a directory, broken or not. */
struct flaw_child {
    int64_t edge;
    ino_num ino;
    bool is_dir;
    struct bytes name; /* borrowed for the visit */
};
typedef enum rc (*flaw_child_visit)(const struct flaw_child *child, void *arg, struct err *e);
/* At most limit names of a directory behind `after`, in byte order; *count of them. */
MUST_CHECK enum rc flaw_children(struct meta *meta, ino_num dir, struct bytes after, uint32_t limit,
                                 flaw_child_visit visit, void *arg, uint32_t *count, struct err *e);

/* Count the directories that have no statistics yet; *filled of them. One page behind *after. */
MUST_CHECK enum rc flaw_fill_stats(struct meta *meta, int64_t *after, bool *is_end,
                                   uint64_t *filled, struct err *e);

#endif
