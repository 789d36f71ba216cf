#include "fs/mount/control_run.h"

#include <errno.h>
#include <unistd.h>

#include "fs/base/json.h"
#include "fs/base/log.h"

/* The kernel holds on to what it was told for a second; who called sees the change at once. */
static void forget_name(const struct control_context *c, ino_num parent, struct bytes name)
{
    struct fuse_session *session = c->mount->session;
    (void)fuse_lowlevel_notify_inval_entry(session, parent, (const char *)name.data, name.size);
    (void)fuse_lowlevel_notify_inval_inode(session, parent, 0, 0);
}

static enum rc run_rmr(const struct control_context *c, const struct control_request *q,
                       const struct meta_caller *who, struct tree_watch *watch, struct err *e)
{
    enum rc rc = tree_remove(c->mount->vfs, who, q->parent, q->name, q->skip_trash, watch, e);
    /* Part of it may be gone in any case. */
    forget_name(c, q->parent, q->name);
    return rc;
}

static enum rc run_clone(const struct control_context *c, const struct control_request *q,
                         const struct meta_caller *who, struct tree_watch *watch, struct err *e)
{
    const struct tree_clone what = {
        .src = q->ino,
        .dst_parent = q->dst_parent,
        .name = q->name,
        .mode = q->preserve ? CLONE_PRESERVE : 0,
        .umask = q->umask & 07777,
    };
    enum rc rc = tree_clone(c->mount->vfs, who, &what, watch, e);
    if (!rc)
        forget_name(c, q->dst_parent, q->name);
    return rc;
}

static enum rc add_places(const struct control_context *c, const struct tree_filled *filled,
                          struct json *doc, struct err *e)
{
    auto_json struct json *places = json_object_new();
    if (!places)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    const int64_t there = (int64_t)(filled->bytes - filled->missing);
    if (there > 0 && c->cache_dir && json_set_int(places, c->cache_dir, there, e))
        return e->code;
    return json_set(doc, "Locations", &places, e);
}

static enum rc run_fill(const struct control_context *c, const struct control_request *q,
                        const struct meta_caller *who, struct tree_watch *watch, struct buf *answer,
                        struct err *e)
{
    struct tree_filled filled;
    if (tree_fill(c->mount->vfs, who, (int)q->action, q->paths, &filled, watch, e))
        return e->code;
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    if (json_set_int(doc, "FileCount", (int64_t)filled.files, e) ||
        json_set_int(doc, "SliceCount", (int64_t)filled.slices, e) ||
        json_set_int(doc, "TotalBytes", (int64_t)filled.bytes, e) ||
        json_set_int(doc, "MissBytes", (int64_t)filled.missing, e) ||
        add_places(c, &filled, doc, e))
        return e->code;
    auto_buf struct buf text;
    buf_init(&text, 1 << 20);
    return json_write(doc, JSON_COMPACT, &text, e) ? e->code
                                                   : control_add_data(answer, buf_bytes(&text), e);
}

/*
 * The requests name inodes, and a number can be guessed. Stock mounts ask nothing; here it takes
 * what it would take by the names: to say something of an inode as stat(2) does, to have come
 * there; to add up what is in a directory, or list it, to read it; to have it written anew, to
 * write it.
 */
static enum rc check_reach(const struct control_context *c, const struct control_request *q,
                           const struct meta_caller *who, struct err *e)
{
    struct vfs *vfs = c->mount->vfs;
    switch (q->command) {
    case CONTROL_RMR:
        return tree_reach(vfs, who, q->parent, e);
    case CONTROL_CLONE:
        return tree_reach(vfs, who, q->dst_parent, e) ? e->code : tree_reach(vfs, who, q->ino, e);
    case CONTROL_INFO:
    case CONTROL_INFO_LEGACY:
        return q->is_recursive ? tree_access(vfs, who, q->ino, R_OK, e)
                               : tree_reach(vfs, who, q->ino, e);
    case CONTROL_SUMMARY:
        return tree_access(vfs, who, q->ino, R_OK, e);
    case CONTROL_COMPACT:
        return tree_access(vfs, who, q->ino, W_OK, e);
    case CONTROL_FILL: /* by paths, each of which is asked about when it is looked up */
        break;
    }
    return RC_OK;
}

enum rc control_run(const struct control_context *context, const struct control_request *request,
                    const struct meta_caller *who, struct tree_watch *watch, struct buf *answer,
                    struct err *e)
{
    watch->threads = request->threads;
    if (check_reach(context, request, who, e))
        return e->code;
    switch (request->command) {
    case CONTROL_RMR:
        return run_rmr(context, request, who, watch, e);
    case CONTROL_CLONE:
        return run_clone(context, request, who, watch, e);
    case CONTROL_FILL:
        return run_fill(context, request, who, watch, answer, e);
    case CONTROL_INFO:
    case CONTROL_INFO_LEGACY:
        return control_info(context, request, watch, answer, e);
    case CONTROL_SUMMARY:
        return control_summary(context, request, watch, answer, e);
    case CONTROL_COMPACT:
        return control_compact(context, request, watch, e);
    }
    return err_fail(e, RC_INVALID, "there is no control command %d", (int)request->command);
}
