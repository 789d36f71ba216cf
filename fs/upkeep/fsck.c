/*
 * The order of the parts, and the walk below a path.
 */
#include "fs/upkeep/fsck.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/array.h"
#include "fs/base/log.h"
#include "fs/upkeep/fsck_impl.h"

#define BATCH     1000 /* inodes or edges that are checked together below a path */
#define PAGE      64   /* names held for each level of the walk */
#define DEPTH_MAX 4096
#define LOST_MAX  ((size_t)4 << 20)

void fsck_tell(struct fsck *f, const struct fsck_problem *problem)
{
    f->report->problems++;
    f->report->repaired += problem->is_repaired;
    f->visit(problem, f->arg);
}

/* Remember a slice whose files are to be named. Without room only they are not. */
static void lose_locked(struct fsck *f, uint64_t slice)
{
    struct err ignored = ERR_INIT;
    if (f->lost_count < LOST_MAX && array_reserve(&f->lost, &f->lost_room, f->lost_count + 1,
                                                  sizeof(*f->lost), &ignored) == RC_OK)
        f->lost[f->lost_count++] = (int64_t)slice;
}

void fsck_tell_later(struct fsck *f, const char *kind, uint64_t slice, const char *text)
{
    struct fsck_later *later = calloc(1, sizeof(*later));
    LOCK_SCOPE(&f->lock);
    lose_locked(f, slice);
    if (!later) {
        f->report->problems++; /* it counts, even if it cannot be shown */
        return;
    }
    later->kind = kind;
    later->slice = slice;
    (void)snprintf(later->text, sizeof(later->text), "%s", text);
    later->next = f->later;
    f->later = later;
}

void fsck_tell_rest(struct fsck *f)
{
    lock_take(&f->lock);
    struct fsck_later *later = take_pointer(&f->later);
    lock_drop(&f->lock);
    while (later) {
        auto_free struct fsck_later *first = later;
        later = first->next;
        fsck_tell(f, &(struct fsck_problem){
                         .kind = first->kind, .slice = first->slice, .text = first->text});
    }
}

/* ---------------------------------------------------------------------------- below a path */

struct children {
    struct flaw_child at[PAGE];
    uint8_t names[PAGE][META_NAME_MAX];
    uint32_t count;
};

struct walk {
    struct fsck *f;
    int64_t inos[BATCH], edges[BATCH];
    size_t ino_count, edge_count;
    ino_num above[DEPTH_MAX]; /* the directories from the top to here */
    unsigned depth;
};

static enum rc check_batch(struct walk *w, struct err *e)
{
    static const enum flaw_check of_inodes[] = {FLAW_CYCLES, FLAW_NODES, FLAW_STATS, FLAW_QUOTAS};
    struct fsck *f = w->f;
    if (fsck_flaws(f, FLAW_EDGES, w->edges, w->edge_count, e))
        return e->code;
    for (size_t i = 0; i < sizeof(of_inodes) / sizeof(of_inodes[0]); i++)
        if (fsck_flaws(f, of_inodes[i], w->inos, w->ino_count, e))
            return e->code;
    if (fsck_chunks(f, w->inos, w->ino_count, e) || fsck_blocks_of(f, w->inos, w->ino_count, e))
        return e->code;
    w->ino_count = w->edge_count = 0;
    return RC_OK;
}

static enum rc add(struct walk *w, ino_num ino, int64_t edge, struct err *e)
{
    w->inos[w->ino_count++] = (int64_t)ino;
    if (edge)
        w->edges[w->edge_count++] = edge;
    return w->ino_count == BATCH ? check_batch(w, e) : RC_OK;
}

static enum rc keep_child(const struct flaw_child *child, void *arg, struct err *e)
{
    struct children *c = arg;
    if (child->name.size > META_NAME_MAX)
        return err_fail(e, RC_CORRUPT, "a name of %zu bytes", child->name.size);
    memcpy(c->names[c->count], child->name.data, child->name.size);
    c->at[c->count] = *child;
    c->at[c->count].name.data = c->names[c->count];
    c->count++;
    return RC_OK;
}

static bool is_above(const struct walk *w, ino_num ino)
{
    for (unsigned i = 0; i < w->depth; i++)
        if (w->above[i] == ino)
            return true;
    return false;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the tree, at most DEPTH_MAX */
static enum rc walk_directory(struct walk *w, ino_num dir, struct err *e)
{
    if (w->depth == DEPTH_MAX || is_above(w, dir)) {
        log_warn("directory %" PRIu64 " is not entered again: it is below itself", dir);
        return RC_OK;
    }
    auto_free struct children *page = calloc(1, sizeof(*page));
    if (!page)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    w->above[w->depth++] = dir;
    uint8_t after[META_NAME_MAX];
    struct bytes last = {after, 0};
    do {
        page->count = 0;
        uint32_t ignored;
        if (flaw_children(w->f->meta, dir, last, PAGE, keep_child, page, &ignored, e))
            return e->code;
        for (uint32_t i = 0; i < page->count; i++) {
            const struct flaw_child *child = &page->at[i];
            if (add(w, child->ino, child->edge, e) ||
                (child->is_dir && w->f->options->is_recursive && walk_directory(w, child->ino, e)))
                return e->code;
            memcpy(after, child->name.data, child->name.size);
            last.size = child->name.size;
        }
    } while (page->count == PAGE);
    w->depth--;
    return RC_OK;
}

static enum rc check_tree(struct fsck *f, struct err *e)
{
    auto_free struct walk *w = calloc(1, sizeof(*w));
    if (!w)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    w->f = f;
    if (add(w, f->options->top, 0, e) || walk_directory(w, f->options->top, e))
        return e->code;
    return check_batch(w, e);
}

/* ------------------------------------------------------------------------------ the whole volume
 */

static enum rc fill_stats(struct fsck *f, struct err *e)
{
    bool is_end = false;
    for (int64_t after = 0; !is_end;)
        if (flaw_fill_stats(f->meta, &after, &is_end, &f->report->filled_stats, e))
            return e->code;
    return RC_OK;
}

/* Records and counts come before the accounts, which follow from what is mended before them. */
static enum rc check_all(struct fsck *f, struct err *e)
{
    if (f->options->only)
        return fsck_blocks(f, e);
    for (enum flaw_check check = 0; check < FLAW_STATS; check++)
        if (fsck_flaws(f, check, NULL, 0, e))
            return e->code;
    if (fsck_chunks(f, NULL, 0, e) || fsck_refs(f, e) || fsck_blocks(f, e))
        return e->code;
    if (f->options->syncs_stats && fill_stats(f, e))
        return e->code;
    for (enum flaw_check check = FLAW_STATS; check < FLAW_CHECKS; check++)
        if (fsck_flaws(f, check, NULL, 0, e))
            return e->code;
    return RC_OK;
}

static bool stores_plain(struct meta *meta)
{
    struct format *format = meta_format_ref(meta);
    const char *packing = format->compression;
    const bool is_plain =
        !format->encrypt_key && (!packing || !packing[0] || strcmp(packing, "none") == 0);
    meta_format_unref(meta, &format);
    return is_plain;
}

enum rc fsck_run(struct volume *volume, const struct fsck_options *options, fsck_visit visit,
                 void *arg, struct fsck_report *report, struct err *e)
{
    *report = (struct fsck_report){0};
    struct fsck f = {
        .volume = volume,
        .meta = volume_meta(volume),
        .store = volume_local(volume) ? volume_local(volume) : volume_origin(volume),
        .chain = volume_store(volume),
        .options = options,
        .has_exact_sizes = stores_plain(volume_meta(volume)),
        .visit = visit,
        .arg = arg,
        .report = report,
    };
    if (options->only)
        f.store = f.chain = options->only;
    lock_init(&f.lock, LOCK_BASE_QUEUE);
    enum rc rc = options->top ? check_tree(&f, e) : check_all(&f, e);
    if (rc == RC_OK && !options->only)
        rc = fsck_broken_files(&f, e);
    fsck_tell_rest(&f);
    lock_deinit(&f.lock);
    free(f.lost);
    return rc;
}
