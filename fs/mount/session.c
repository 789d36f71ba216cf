#include "fs/mount/session.h"

#include "fs/mount/internal.h"

#define MAX_BACKGROUND 200

static void want(struct fuse_conn_info *conn, unsigned capability, bool wanted)
{
    if (wanted && (conn->capable & capability))
        conn->want |= capability;
    else
        conn->want &= ~capability;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    const struct mount *m = userdata;
    /* Truncation at open comes as SETATTR, and the umask is applied beside the inherited ACL. */
    want(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);
    want(conn, FUSE_CAP_DONT_MASK, true);
    /* The kernel asks for lists and goes by them. */
    want(conn, FUSE_CAP_POSIX_ACL, m->has_acls && !ids_squashes_all(m->ids));
    want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
    want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
    /* A listing would prime names that must be asked for again anyway. */
    if (m->is_strict)
        want(conn, FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO, false);
    want(conn, FUSE_CAP_AUTO_INVAL_DATA, true);
    want(conn, FUSE_CAP_HANDLE_KILLPRIV, true);
    want(conn, FUSE_CAP_POSIX_LOCKS, true);
    want(conn, FUSE_CAP_FLOCK_LOCKS, true);
    /* A reply larger than the pipe falls back to copying twice (measured): plain writes instead. */
    want(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false);
    want(conn, FUSE_CAP_WRITEBACK_CACHE, false);
    conn->max_write = MOUNT_IO_BYTES;
    conn->max_readahead = MOUNT_IO_BYTES;
    conn->max_background = MAX_BACKGROUND;
    conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
}

static void fill(const struct mount *m, struct fuse_lowlevel_ops *ops)
{
    ops->init = on_init;
    ops_name_fill(ops);
    ops_attr_fill(ops);
    ops_xattr_fill(ops);
    ops_file_fill(ops);
    ops_dir_fill(ops);
    ops_ioctl_fill(ops);
    ops_lock_fill(ops);
    internal_fill(m->internal, ops);
}

enum rc session_open(struct mount *m, const char *options, struct err *e)
{
    struct fuse_lowlevel_ops ops = {.init = NULL};
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    fill(m, &ops);
    const bool is_filled = fuse_opt_add_arg(&args, "tarn-mount") == 0 &&
                           fuse_opt_add_arg(&args, "-o") == 0 &&
                           fuse_opt_add_arg(&args, options) == 0;
    if (is_filled)
        m->session = fuse_session_new(&args, &ops, sizeof(ops), m);
    fuse_opt_free_args(&args);
    return m->session ? RC_OK : err_fail(e, RC_IO, "could not make a FUSE session");
}
