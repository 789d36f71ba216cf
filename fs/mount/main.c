/*
 * tarn-mount: composes a volume, its caches and a vfs, and serves them through FUSE.
 *
 * Order of the way in: options, volume (one exchange), session, caches, vfs, FUSE, ready. The way
 * out is the reverse: no more requests, flush every file, end the session, unmount. Whatever could
 * not be stored is named in the log and in the exit code.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/base/daemon.h"
#include "fs/base/http.h"
#include "fs/base/log.h"
#include "fs/base/loop.h"
#include "fs/base/thread.h"
#include "fs/base/url.h"
#include "fs/mount/internal.h"
#include "fs/mount/options.h"
#include "fs/mount/serve.h"
#include "fs/mount/session.h"
#include "fs/mount/subdir.h"
#include "fs/mount/tmpfile.h"
#include "fs/upkeep/jobs.h"

#define READ_AHEAD_KB 1024

struct program {
    struct mount_options options;
    const char *url;
    char *redacted_url;
    char mount_point[PATH_MAX];
    bool is_read_only;

    struct loop *loop; /* signals and the HTTP service */
    struct http_service *http;
    struct volume *volume;
    struct block_cache *cache;
    struct upkeep *upkeep; /* NULL on a read-only mount and at a mirror */
    struct mount mount;    /* vfs and session */
    bool is_mounted;
    atomic_bool is_volume_gone;
    struct serve *serve;
    struct daemon_start *start;
};

/* ---------------------------------------------------------------------------------- the volume */

static enum rc look_at_format(struct program *p, struct err *e)
{
    struct meta *meta = volume_meta(p->volume);
    struct format *format = meta_format_ref(meta);
    p->mount.has_acls = format->enable_acl;
    if (format->upload_limit > 0 || format->download_limit > 0)
        log_warn("the volume has limits of bandwidth, which this client does not keep to");
    meta_format_unref(meta, &format);
    return told_open(&p->mount.told, (uint64_t)p->options.attr_ms, p->mount.has_acls, e);
}

static enum rc open_volume(struct program *p, struct err *e)
{
    const struct mount_options *o = &p->options;
    struct volume_options options = {
        .meta = {.url = p->url,
                 .application = "tarn mount",
                 .max_conns = (unsigned)o->meta_conns,
                 .timeout_ms = (uint64_t)o->meta_timeout_ms,
                 .is_read_only = o->read_only || o->ro,
                 .follows_primary = true,
                 .primary_url = o->primary_url && *o->primary_url ? o->primary_url : NULL,
                 .primary_password = getenv("TARN_PRIMARY_PASSWORD"),
                 .wait_primary_ms = (uint64_t)o->wait_primary_ms},
        .bucket = o->bucket,
        .needs_ready = true,
        .checks_uuid = true,
    };
    if (options_freshness(o, &options.meta.freshness, e) || volume_open(&p->volume, &options, e))
        return e->code;
    p->is_read_only = options.meta.is_read_only;
    if (look_at_format(p, e))
        return e->code;
    if (p->is_read_only)
        return RC_OK;
    return meta_session_begin(volume_meta(p->volume), p->mount_point, e);
}

static enum rc open_vfs(struct program *p, struct err *e)
{
    const struct mount_options *o = &p->options;
    const struct block_cache_options cache = {
        .volume = p->volume,
        .disk_dir = o->cache_bytes > 0 ? o->cache_dir : NULL,
        .disk_bytes = (uint64_t)o->cache_bytes,
        .free_ratio = (double)o->free_space_percent / 100,
        .memory_bytes = (uint64_t)o->buffer_bytes,
        .max_fetches = (unsigned)o->max_downloads,
    };
    struct vfs_options vfs = {
        .volume = p->volume,
        .buffer_bytes = (uint64_t)o->buffer_bytes,
        .readahead_bytes = (uint64_t)o->readahead_bytes,
        .max_uploads = (unsigned)o->max_uploads,
        .is_read_only = p->is_read_only,
        .has_fast_statfs = o->fast_statfs,
        .attr_ms = (uint64_t)o->attr_ms,
    };
    if (options_atime(o, &vfs.atime, e) ||
        subdir_find(volume_meta(p->volume), o->subdir, !p->is_read_only, &vfs.root, e) ||
        block_cache_open(&p->cache, &cache, e))
        return e->code;
    vfs.cache = p->cache;
    return vfs_open(&p->mount.vfs, &vfs, e);
}

static void on_removed(void *arg, bool is_certain)
{
    upkeep_removed(arg, is_certain);
}

static void on_crowded(void *arg, ino_num ino, uint32_t indx, bool waits)
{
    upkeep_crowded(arg, ino, indx, waits);
}

/* What a mount at a mirror removes or crowds is the primary's agent's to look after. */
static enum rc open_upkeep(struct program *p, struct err *e)
{
    const struct meta_site *site = meta_site(volume_meta(p->volume));
    if (p->is_read_only || strcmp(site->role, "primary") != 0)
        return RC_OK;
    const struct upkeep_options options = {.volume = p->volume, .has_jobs = !p->options.no_bgjob};
    if (upkeep_open(&p->upkeep, &options, e))
        return e->code;
    const struct vfs_upkeep hooks = {on_removed, on_crowded, p->upkeep};
    vfs_on_upkeep(p->mount.vfs, &hooks);
    return RC_OK;
}

/* ------------------------------------------------------------------------------------- the FUSE */

static void on_invalidate(void *arg, ino_num ino)
{
    struct mount *m = arg;
    /* The kernel may not know the inode: nothing to do then. */
    (void)fuse_lowlevel_notify_inval_inode(m->session, ino, 0, 0);
}

/* The database holds another volume now: whatever is served from here would be wrong. */
static void on_gone(void *arg, UNUSED const struct err *why)
{
    struct program *p = arg;
    p->is_volume_gone = true;
    serve_stop(p->serve);
}

static enum rc compose_fuse_options(const struct program *p, struct buf *out, struct err *e)
{
    return buf_addf(out, e, "fsname=tarn:%s,subtype=tarn%s%s%s%s%s%s", volume_name(p->volume),
                    ids_squashes_all(p->mount.ids) ? "" : ",default_permissions",
                    p->options.suid ? "" : ",nosuid", p->options.dev ? "" : ",nodev",
                    p->options.noexec ? ",noexec" : "",
                    p->options.no_allow_other ? "" : ",allow_other", p->is_read_only ? ",ro" : "");
}

static enum rc open_internal(struct program *p, struct err *e)
{
    const struct mount_options *o = &p->options;
    const bool shows_root = !o->subdir || !*o->subdir || strcmp(o->subdir, "/") == 0;
    const struct internal_options options = {
        .mount = &p->mount,
        .facts = {.volume = p->volume,
                  .cache = p->cache,
                  .options = o,
                  .mount_point = p->mount_point,
                  .redacted_url = p->mount.redacted_url,
                  .is_read_only = p->is_read_only},
        .cache_dir = o->cache_bytes > 0 && *o->cache_dir ? o->cache_dir : NULL,
        .has_prefix = o->prefix_internal,
        .is_hidden = o->hide_internal,
        .has_trash = shows_root,
    };
    return internal_open(&p->mount.internal, &options, e);
}

static enum rc open_session(struct program *p, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, 1024);
    const char *options;
    if (compose_fuse_options(p, &text, e) || buf_cstr(&text, &options, e))
        return e->code;

    return session_open(&p->mount, options, e);
}

/* Buffered reads stay at 128 KiB until the kernel's read-ahead is raised after the mount. */
static void raise_read_ahead(const struct program *p)
{
    struct stat st;
    char path[96];
    if (stat(p->mount_point, &st) == -1)
        return;
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
             minor(st.st_dev));
    FILE *file = fopen(path, "we");
    if (!file || fprintf(file, "%d\n", READ_AHEAD_KB) < 0)
        log_debug("could not raise the kernel's read-ahead of %s", p->mount_point);
    if (file)
        fclose(file);
}

/* What libfuse does not know. */
static bool on_request(void *arg, const struct fuse_buf *request)
{
    return tmpfile_serve(arg, request);
}

static enum rc mount_session(struct program *p, struct err *e)
{
    if (fuse_session_mount(p->mount.session, p->mount_point))
        return err_fail(e, RC_IO, "could not mount on \"%s\"; is /dev/fuse there, and fusermount3?",
                        p->mount_point);
    p->is_mounted = true;
    if (serve_open(&p->serve, p->mount.session, (unsigned)p->options.threads, on_request, &p->mount,
                   e))
        return e->code;
    vfs_on_invalidate(p->mount.vfs, on_invalidate, &p->mount);
    vfs_on_gone(p->mount.vfs, on_gone, p);
    return RC_OK;
}

/* ------------------------------------------------------------------------------- the life of it */

static void on_stop_signal(int signum, void *arg)
{
    struct program *p = arg;
    log_info("leaving on signal %d", signum);
    serve_stop(p->serve);
}

static void on_reload_signal(UNUSED int signum, void *arg)
{
    struct program *p = arg;
    struct err e = ERR_INIT;
    if (ids_reload(p->mount.ids, &e))
        log_err(LOG_LEVEL_ERROR, &e, "the ids stay mapped as they were");
    else
        log_info("ids are mapped anew");
}

static enum rc open_loop(struct program *p, struct err *e)
{
    if (loop_spawn(&p->loop, "loop", e) || loop_signal(p->loop, SIGTERM, on_stop_signal, p, e) ||
        loop_signal(p->loop, SIGINT, on_stop_signal, p, e) ||
        loop_signal(p->loop, SIGHUP, on_reload_signal, p, e))
        return e->code;
    if (!p->options.metrics)
        return RC_OK;
    return http_service_open(&p->http, p->loop, p->options.metrics, e);
}

/* The kernel calls back into the mount to answer stat(), so this waits in a thread of its own. */
static void *announce(void *arg)
{
    struct program *p = arg;
    raise_read_ahead(p);
    log_info("mounted %s on %s%s", volume_name(p->volume), p->mount_point,
             p->is_read_only ? " read-only" : "");
    if (p->http)
        http_service_ready(p->http, true);
    daemon_notify("READY=1");
    daemon_ready(&p->start);
    return NULL;
}

static enum rc serve_until_end(struct program *p, struct err *e)
{
    pthread_t announcer;
    if (thread_start(&announcer, "announce", 0, announce, p, e))
        return e->code;
    serve_run(p->serve);
    pthread_join(announcer, NULL);
    if (p->is_volume_gone) {
        err_fail(e, RC_INVALID, "the database holds another volume now");
        return err_exits(e, EXIT_FAILED);
    }
    return RC_OK;
}

static enum rc bring_up(struct program *p, struct err *e)
{
    if (open_volume(p, e) || open_vfs(p, e) || open_internal(p, e) || open_session(p, e) ||
        mount_session(p, e) || open_upkeep(p, e))
        return e->code;
    return open_loop(p, e);
}

/* Requests have ended: store what is buffered, then let go of everything. */
static enum rc tear_down(struct program *p, struct err *e)
{
    daemon_notify("STOPPING=1");
    enum rc rc = RC_OK;
    loop_close(&p->loop);
    internal_close(&p->mount.internal);
    if (p->mount.vfs)
        rc = vfs_close(&p->mount.vfs, e);
    upkeep_close(&p->upkeep);
    block_cache_close(&p->cache);
    volume_close(&p->volume);
    serve_close(&p->serve);
    if (p->is_mounted)
        fuse_session_unmount(p->mount.session);
    if (p->mount.session)
        fuse_session_destroy(p->mount.session);
    told_close(&p->mount.told);
    ids_close(&p->mount.ids);
    return rc;
}

static enum rc check_mount_point(struct program *p, const char *given, struct err *e)
{
    struct stat st;
    if (!realpath(given, p->mount_point))
        return err_os(e, errno, "cannot mount on \"%s\"", given);
    if (stat(p->mount_point, &st) == -1)
        return err_os(e, errno, "cannot mount on \"%s\"", given);
    if (!S_ISDIR(st.st_mode))
        return err_fail(e, RC_INVALID, "cannot mount on \"%s\": it is not a directory", given);
    return RC_OK;
}

static enum rc open_ids(struct program *p, struct err *e)
{
    const struct ids_options ids = {.root_squash = p->options.root_squash,
                                    .all_squash = p->options.all_squash,
                                    .map_path = p->options.map_ids};
    return ids_open(&p->mount.ids, &ids, e);
}

/* With --freshness strict the kernel asks each time. Also at a primary: it may become a mirror. */
static void forget_at_once(struct program *p)
{
    struct mount_options *o = &p->options;
    p->mount.is_strict = strcmp(o->freshness, "strict") == 0;
    if (p->mount.is_strict)
        o->attr_ms = o->entry_ms = o->dir_entry_ms = o->negative_entry_ms = 0;
}

static enum rc prepare(struct program *p, const char *const *arguments, struct err *e)
{
    const struct mount_options *o = &p->options;
    p->url = arguments[0];
    if (command_log_init("tarn-mount", &o->log, e) || options_check(o, e) ||
        options_umask(o, &p->mount.umask, e) || open_ids(p, e) || url_check(p->url, e) ||
        check_mount_point(p, arguments[1], e))
        return e->code;
    p->redacted_url = url_redact(p->url);
    p->mount.redacted_url = p->redacted_url ? p->redacted_url : "";
    forget_at_once(p);
    p->mount.attr_seconds = (double)o->attr_ms / 1000;
    p->mount.entry_seconds = (double)o->entry_ms / 1000;
    p->mount.dir_entry_seconds = (double)o->dir_entry_ms / 1000;
    p->mount.negative_seconds = (double)o->negative_entry_ms / 1000;
    if (pthread_key_create(&p->mount.read_buffer, free))
        return err_fail(e, RC_IO, "could not make a thread key");
    return o->background ? daemon_detach(&p->start, o->log_file, e) : RC_OK;
}

static struct program program;

static enum rc work(UNUSED void *options, const char *const *arguments, struct err *e)
{
    struct program *p = &program;
    /* After a success *e may still tell of something that was let pass: it is not looked at. */
    const bool has_failed = prepare(p, arguments, e) || bring_up(p, e) || serve_until_end(p, e);
    if (has_failed)
        daemon_failed(&p->start, exit_code_of(e), e->text);

    /* What failed first is what the exit code tells; both are said. */
    struct err end = ERR_INIT;
    const bool is_unclean = tear_down(p, &end) != RC_OK;
    if (is_unclean && has_failed)
        log_err(LOG_LEVEL_ERROR, &end, "could not leave cleanly");
    else if (is_unclean)
        *e = end;
    free(p->redacted_url);
    return has_failed || is_unclean ? e->code : RC_OK;
}

int main(int argc, char **argv)
{
    daemon_harden();
    return command_run(&mount_command, &program.options, work, argc, argv);
}
