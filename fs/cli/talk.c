#include "fs/cli/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/clock.h"

#define READ_BYTES       ((size_t)128 << 10)
#define ANSWER_BYTES_MAX ((size_t)512 << 20)
#define POLL_FIRST_MS    1
#define POLL_MAX_MS      100
#define ROOT_INO         1

/* ---- paths ---- */

void talk_path_deinit(struct talk_path *path)
{
    free(path->text);
    free(path->dir);
    free(path->root);
    *path = (struct talk_path){0};
}

/* The directory is made absolute; the last part stays as it is, for it may be a symbolic link. */
static char *absolute(const char *given, struct err *e)
{
    char dir[PATH_MAX], whole[PATH_MAX];
    const size_t given_size = strlen(given);
    auto_free char *copy = strdup(given);
    if (!copy) {
        err_fail(e, RC_NO_SPACE, "could not copy a path");
        return NULL;
    }
    for (size_t i = given_size; i > 1 && copy[i - 1] == '/'; i--)
        copy[i - 1] = '\0';
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    const bool is_whole = *name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    if (!is_whole && slash)
        *slash = '\0';
    const char *above = is_whole ? copy : !slash ? "." : *copy ? copy : "/";
    if (!realpath(above, dir)) {
        err_os(e, errno, "cannot find \"%s\"", above);
        return NULL;
    }
    const char *slash_between = is_whole || strcmp(dir, "/") == 0 ? "" : "/";
    if (snprintf(whole, sizeof(whole), "%s%s%s", dir, slash_between, is_whole ? "" : name) >=
        (int)sizeof(whole)) {
        err_fail(e, RC_INVALID, "the path of \"%.100s\" is too long", name);
        return NULL;
    }
    char *out = strdup(whole);
    if (!out)
        err_fail(e, RC_NO_SPACE, "could not copy a path");
    return out;
}

/* The nearest directory at or above `from` that is the root of a file system with inode 1. */
static char *find_root(const char *from)
{
    auto_free char *at = strdup(from);
    struct stat st;
    while (at && strcmp(at, "/") != 0) {
        if (stat(at, &st) == 0 && st.st_ino == ROOT_INO && S_ISDIR(st.st_mode))
            return take_pointer(&at);
        char *slash = strrchr(at, '/');
        slash[slash == at ? 1 : 0] = '\0';
    }
    if (at && stat(at, &st) == 0 && st.st_ino == ROOT_INO)
        return take_pointer(&at);
    return NULL;
}

static enum rc look_up(struct talk_path *p, bool wants_it, struct err *e)
{
    struct stat st;
    char *slash = strrchr(p->text, '/');
    p->name = slash + 1;
    p->dir = strndup(p->text, slash == p->text ? 1 : (size_t)(slash - p->text));
    if (!p->dir)
        return err_fail(e, RC_NO_SPACE, "could not copy a path");
    if (stat(p->dir, &st) == -1)
        return err_os(e, errno, "cannot look at \"%s\"", p->dir);
    p->above = st.st_ino;
    if (lstat(p->text, &st) == 0) {
        p->ino = st.st_ino;
        p->is_dir = S_ISDIR(st.st_mode);
    } else if (errno != ENOENT || wants_it) {
        return err_os(e, errno, "cannot look at \"%s\"", p->text);
    }
    p->root = find_root(p->is_dir ? p->text : p->dir);
    if (!p->root)
        return err_fail(e, RC_INVALID, "\"%s\" is in no mount of a volume", p->text);
    return RC_OK;
}

enum rc talk_path_find(const char *given, bool wants_it, struct talk_path *out, struct err *e)
{
    *out = (struct talk_path){.text = absolute(given, e)};
    if (!out->text)
        return e->code;
    enum rc rc = look_up(out, wants_it, e);
    if (rc)
        talk_path_deinit(out);
    return rc;
}

/* ---- the conversation ---- */

static int open_control(const char *dir)
{
    static const char *const names[] = {".jfs.control", ".control"};
    char path[PATH_MAX];
    int fd = -1;
    for (size_t i = 0; fd == -1 && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd == -1 && errno != ENOENT)
            break;
    }
    return fd;
}

static enum rc send_request(int fd, const struct control_request *request, struct err *e)
{
    auto_buf struct buf message;
    buf_init(&message, CONTROL_BODY_MAX + CONTROL_HEAD_BYTES);
    if (control_compose(request, &message, e))
        return e->code;
    for (size_t sent = 0; sent < message.size;) {
        const ssize_t n = write(fd, message.data + sent, message.size - sent);
        if (n == -1 && errno != EINTR)
            return err_os(e, errno, "could not write to the mount's .control");
        sent += n > 0 ? (size_t)n : 0;
    }
    return RC_OK;
}

/* Read what has come; nothing yet is no failure. */
static enum rc read_more(int fd, struct buf *stream, size_t *got, struct err *e)
{
    *got = 0;
    if (buf_reserve(stream, READ_BYTES, e))
        return e->code;
    const ssize_t n = read(fd, stream->data + stream->size, READ_BYTES);
    if (n == -1 && errno == EINTR)
        return RC_OK;
    if (n == -1 && (errno == EBADF || errno == ENOTCONN))
        return err_fail(e, RC_UNAVAILABLE, "the mount was restarted or has left");
    if (n == -1)
        return err_os(e, errno, "could not read the mount's .control");
    *got = (size_t)n;
    stream->size += *got;
    return RC_OK;
}

static void show(struct talk_watch *w, struct progress *bar, const struct control_frame *frame)
{
    w->first = frame->first;
    w->second = frame->second;
    if (w->is_bytes)
        progress_set(bar, w->second, 0);
    else
        progress_set(bar, w->first, w->shows_second ? w->second : 0);
}

static enum rc refused(int posix_errno, struct err *e)
{
    if (posix_errno == EINVAL)
        return err_refused(e, EINVAL, "the mount does not know this command, or not like this");
    return err_refused(e, posix_errno, "the mount refused");
}

static void drop_front(struct buf *stream, size_t size)
{
    memmove(stream->data, stream->data + size, stream->size - size);
    stream->size -= size;
}

/* Take the frames that are there. *is_end: the last one was among them. */
static enum rc take_frames(struct buf *stream, struct talk_watch *watch, struct progress *bar,
                           struct buf *data, bool *is_end, struct err *e)
{
    for (;;) {
        struct control_frame frame;
        control_frame_read(buf_bytes(stream), &frame);
        switch (frame.kind) {
        case CONTROL_MORE:
            return RC_OK;
        case CONTROL_PROGRESS:
            show(watch, bar, &frame);
            drop_front(stream, frame.size);
            break;
        case CONTROL_DATA:
            *is_end = true;
            return data ? buf_add(data, frame.data.data, frame.data.size, e) : RC_OK;
        case CONTROL_ERRNO:
            *is_end = true;
            return frame.posix_errno ? refused(frame.posix_errno, e) : RC_OK;
        }
    }
}

static enum rc hear(int fd, struct talk_watch *watch, struct progress *bar, struct buf *data,
                    struct err *e)
{
    auto_buf struct buf stream;
    buf_init(&stream, ANSWER_BYTES_MAX);
    uint64_t pause_ms = POLL_FIRST_MS;
    for (;;) {
        size_t got;
        bool is_end = false;
        if (read_more(fd, &stream, &got, e) || take_frames(&stream, watch, bar, data, &is_end, e) ||
            is_end)
            return e->code;
        if (got) {
            pause_ms = POLL_FIRST_MS;
            continue;
        }
        clock_sleep_until(clock_deadline(pause_ms));
        pause_ms = pause_ms * 2 < POLL_MAX_MS ? pause_ms * 2 : POLL_MAX_MS;
    }
}

enum rc talk_ask(const char *dir, const struct control_request *request, struct talk_watch *watch,
                 struct buf *data, struct err *e)
{
    auto_close int fd = open_control(dir);
    if (fd == -1)
        return err_os(e, errno, "could not open .control in \"%s\"", dir);
    if (send_request(fd, request, e))
        return e->code;
    struct progress *bar = watch->is_quiet ? NULL : progress_open(watch->what, 0, watch->is_bytes);
    enum rc rc = hear(fd, watch, bar, data, e);
    progress_close(&bar);
    return rc;
}
