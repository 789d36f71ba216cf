#include "fs/vfs/inode.h"

#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/vfs/chore.h"
#include "fs/vfs/writer.h"

enum {
    PATIENCE_OF_CLOSE = 2, /* tries to let an orphan go */
    /* No answer is longer on its way: connections are given up after 15 s of silence. */
    LATE_MS = 20000,
};

/* ---- the table ---- */

static struct inode *inode_new(struct vfs *vfs, ino_num ino)
{
    struct inode *in = calloc(1, sizeof(*in));
    if (!in)
        return NULL;
    in->vfs = vfs;
    in->ino = ino;
    in->refs = 1;
    in->writer.next_seq = 1;
    lock_init(&in->lock, LOCK_VFS_INODE);
    lock_cond_init(&in->changed);
    return in;
}

static void inode_free(struct inode *in)
{
    views_deinit(&in->views);
    free(in->writer.trouble);
    lock_cond_deinit(&in->changed);
    lock_deinit(&in->lock);
    free(in);
}

static struct inode *find_locked(struct vfs *vfs, ino_num ino)
{
    struct inode *in = map64_get(vfs->inodes, ino);
    if (in)
        in->refs++;
    return in;
}

struct inode *inode_find(struct vfs *vfs, ino_num ino)
{
    LOCK_SCOPE(&vfs->table);
    return find_locked(vfs, ino);
}

enum rc inode_get(struct vfs *vfs, ino_num ino, struct inode **out, struct err *e)
{
    LOCK_SCOPE(&vfs->table);
    *out = find_locked(vfs, ino);
    if (*out)
        return RC_OK;
    struct inode *in = inode_new(vfs, ino);
    if (!in)
        return err_fail(e, RC_NO_SPACE, "could not allocate inode %llu", (unsigned long long)ino);
    enum rc rc = map64_put(vfs->inodes, ino, in, e);
    if (rc)
        inode_free(in);
    else
        *out = in;
    return rc;
}

void inode_ref(struct inode *in)
{
    LOCK_SCOPE(&in->vfs->table);
    in->refs++;
}

/* Remember what the kernel may keep. Nobody else refers to the inode any more. */
static void leave_stamp(struct inode *in)
{
    if (in->has_stamp && !in->is_orphan)
        keep_put(in->vfs->keep, in->ino, &in->stamp);
    else
        keep_remove(in->vfs->keep, in->ino);
}

static void let_go(struct inode *in)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < PATIENCE_OF_CLOSE; i++) {
        enum rc rc = meta_release(in->vfs->meta, in->ino, &e);
        if (rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_REFUSED) {
            chore_removed(in->vfs, true);
            return;
        }
    }
    /* Not lost: the end of the session lets it go as well. */
    log_err(LOG_LEVEL_WARN, &e, "could not release unlinked inode %llu yet",
            (unsigned long long)in->ino);
}

void inode_put(struct inode **inode)
{
    struct inode *in = *inode;
    if (!in)
        return;
    *inode = NULL;
    struct vfs *vfs = in->vfs;
    lock_take(&vfs->table);
    const bool is_last = --in->refs == 0;
    if (is_last) {
        (void)map64_remove(vfs->inodes, in->ino);
        leave_stamp(in);
    }
    lock_drop(&vfs->table);
    if (!is_last)
        return;
    writer_discard(in);
    if ((in->is_orphan || in->is_suspect) && !vfs->is_read_only)
        let_go(in);
    inode_free(in);
}

/* ---- attributes ---- */

static struct keep_stamp stamp_of(const struct meta_opened *opened)
{
    struct keep_stamp stamp = {
        .ctime = opened->attr.ctime, .mtime = opened->attr.mtime, .length = opened->attr.length};
    memcpy(stamp.digest, opened->digest, sizeof(stamp.digest));
    return stamp;
}

static void forget_views_locked(struct inode *in)
{
    in->epoch++;
    views_clear(&in->views);
    in->has_stamp = false;
}

/*
 * Is this an older answer that came late? ctime grows with every change of ours, but other clients
 * set it by their own clocks: one that stays behind what we know is news.
 */
static bool is_late_locked(const struct inode *in, const struct node_attr *attr)
{
    return in->has_attr && timespec_order(attr->ctime, in->attr.ctime) < 0 &&
           clock_ms() - in->learned_ms < LATE_MS;
}

static void take_attr_locked(struct inode *in, const struct node_attr *attr)
{
    in->attr = *attr;
    in->has_attr = true;
    in->learned_ms = clock_ms();
}

void inode_learn_locked(struct inode *in, const struct node_attr *attr)
{
    if (is_late_locked(in, attr))
        return;
    if (in->has_attr &&
        (attr->length != in->attr.length || timespec_order(attr->mtime, in->attr.mtime) != 0))
        forget_views_locked(in);
    take_attr_locked(in, attr);
}

void inode_changed_locked(struct inode *in, const struct node_attr *attr)
{
    forget_views_locked(in);
    recent_inode(in->vfs->recent, in->ino);
    if (!is_late_locked(in, attr))
        take_attr_locked(in, attr);
}

static bool is_kept(struct inode *in, const struct keep_stamp *stamp)
{
    LOCK_SCOPE(&in->vfs->table);
    return keep_matches(in->vfs->keep, in->ino, stamp);
}

/* A first open trusts the stamp of the last close; a later one that of the handles before it. */
static bool take_stamp_locked(struct inode *in, const struct keep_stamp *stamp, bool was_kept)
{
    const bool is_first = !in->has_attr;
    if (is_first) {
        in->stamp = *stamp;
        in->has_stamp = true;
        return was_kept;
    }
    if (in->has_stamp && keep_stamp_equal(&in->stamp, stamp))
        return true;
    forget_views_locked(in);
    return false;
}

bool inode_opened(struct inode *in, const struct meta_opened *opened, uint64_t epoch)
{
    const struct keep_stamp stamp = stamp_of(opened);
    const bool was_kept = is_kept(in, &stamp);

    LOCK_SCOPE(&in->lock);
    if (in->epoch != epoch) {
        /* Something was written while we asked: what we hold may be from before. */
        inode_learn_locked(in, &opened->attr);
        in->has_stamp = false;
        return false;
    }
    bool keeps = take_stamp_locked(in, &stamp, was_kept);
    inode_learn_locked(in, &opened->attr);
    views_put(&in->views, 0, opened->view);
    return keeps;
}

uint64_t inode_length_locked(const struct inode *in)
{
    return in->writer.end > in->attr.length ? in->writer.end : in->attr.length;
}

static void overlay_locked(struct inode *in, struct node_attr *attr)
{
    inode_learn_locked(in, attr);
    if (timespec_order(attr->ctime, in->attr.ctime) < 0)
        *attr = in->attr;
    if (!in->writer.first)
        return;
    if (in->writer.end > attr->length)
        attr->length = in->writer.end;
    if (timespec_order(in->writer.written, attr->mtime) > 0)
        attr->mtime = in->writer.written;
    if (timespec_order(in->writer.written, attr->ctime) > 0)
        attr->ctime = in->writer.written;
}

void inode_overlay(struct vfs *vfs, struct node_attr *attr)
{
    if (attr->type != NODE_FILE)
        return;
    auto_inode struct inode *in = inode_find(vfs, attr->ino);
    if (!in)
        return;
    LOCK_SCOPE(&in->lock);
    overlay_locked(in, attr);
}

/* ---- orphans ---- */

struct listing {
    size_t count;
    struct inode **found;
};

static _Bool list_one(uint64_t key, void *value, void *ctx)
{
    struct listing *l = ctx;
    (void)key;
    l->found[l->count++] = value;
    return true;
}

/* All open inodes, a reference of each. */
static struct listing list_all(struct vfs *vfs)
{
    struct listing l = {0};
    LOCK_SCOPE(&vfs->table);
    const size_t count = map64_count(vfs->inodes);
    l.found = count ? malloc(count * sizeof(*l.found)) : NULL;
    if (!l.found)
        return l;
    map64_each(vfs->inodes, list_one, &l);
    for (size_t i = 0; i < l.count; i++)
        l.found[i]->refs++;
    return l;
}

void inode_each(struct vfs *vfs, void (*visit)(struct inode *inode, void *arg), void *arg)
{
    struct listing l = list_all(vfs);
    for (size_t i = 0; i < l.count; i++) {
        visit(l.found[i], arg);
        inode_put(&l.found[i]);
    }
    free(l.found);
}

static _Bool number_one(uint64_t key, void *value, void *ctx)
{
    ino_num **at = ctx;
    (void)value;
    *(*at)++ = key;
    return true;
}

enum rc inode_list_opened(struct vfs *vfs, ino_num **out, size_t *count, struct err *e)
{
    LOCK_SCOPE(&vfs->table);
    *out = NULL;
    *count = map64_count(vfs->inodes);
    if (*count == 0)
        return RC_OK;
    *out = malloc(*count * sizeof(**out));
    if (!*out)
        return err_fail(e, RC_NO_SPACE, "could not list %zu open inodes", *count);
    ino_num *at = *out;
    map64_each(vfs->inodes, number_one, &at);
    return RC_OK;
}

void inode_orphaned(struct vfs *vfs, ino_num ino)
{
    auto_inode struct inode *in = inode_find(vfs, ino);
    if (!in)
        return;
    LOCK_SCOPE(&in->lock);
    in->is_orphan = true;
}

void inode_named(struct vfs *vfs, ino_num ino)
{
    auto_inode struct inode *in = inode_find(vfs, ino);
    if (!in)
        return;
    LOCK_SCOPE(&in->lock);
    in->is_orphan = false;
}

static void suspect_one(struct inode *in, void *arg)
{
    const ino_num *parent = arg;
    LOCK_SCOPE(&in->lock);
    if (!in->has_attr || in->attr.parent == *parent || in->attr.parent == 0)
        in->is_suspect = true;
}

void inode_suspect_in(struct vfs *vfs, ino_num parent)
{
    inode_each(vfs, suspect_one, &parent);
}
