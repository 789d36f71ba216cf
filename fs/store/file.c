#include "fs/store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/store/layers.h"

enum rc file_os(struct err *e, int os_errno, const char *what, const char *key)
{
    enum rc rc = err_os(e, os_errno, "could not %s object \"%s\"", what, key);
    bool may_pass = os_errno == ESTALE || os_errno == EMFILE || os_errno == ENFILE;
    if (os_errno == ENOENT || may_pass)
        rc = e->code = RC_UNAVAILABLE;
    return rc;
}

static enum rc root_missing(const struct file_store *s, int os_errno, struct err *e)
{
    enum rc rc = err_os(e, os_errno, "bucket directory \"%s\" cannot be used", s->path);
    if (rc == RC_NOT_FOUND || os_errno == ENOTDIR || os_errno == ESTALE)
        rc = e->code = RC_UNAVAILABLE;
    return rc;
}

/* Open the root and remember what it is. Losing a race to another thread is success. */
static enum rc find_root(struct file_store *s, struct err *e)
{
    auto_close int fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd == -1 || fstat(fd, &st) == -1)
        return root_missing(s, errno, e);

    LOCK_SCOPE(&s->lock);
    if (s->root_fd == -1) {
        s->root_fd = take_fd(&fd);
        s->dev = st.st_dev;
        s->ino = st.st_ino;
    }
    return RC_OK;
}

static int current_root(struct file_store *s, dev_t *dev, ino_t *ino)
{
    LOCK_SCOPE(&s->lock);
    *dev = s->dev;
    *ino = s->ino;
    return s->root_fd;
}

/* The root, borrowed, after checking that it is still what the path names. */
static enum rc checked_root(struct file_store *s, int *root_fd, struct err *e)
{
    dev_t dev;
    ino_t ino;
    int fd = current_root(s, &dev, &ino);
    if (fd == -1) {
        enum rc rc = find_root(s, e);
        if (rc)
            return rc;
        fd = current_root(s, &dev, &ino);
    }

    struct stat st;
    if (stat(s->path, &st) == -1)
        return root_missing(s, errno, e);
    if (st.st_dev != dev || st.st_ino != ino)
        return err_fail(e, RC_UNAVAILABLE, "bucket directory \"%s\" is not the one that was opened",
                        s->path);
    *root_fd = fd;
    return RC_OK;
}

/* Open the file of an object. Whatever is no regular file is no object. */
static enum rc open_object(struct store *base, const char *key, int *out, struct stat *st,
                           struct err *e)
{
    int root_fd;
    enum rc rc = checked_root((struct file_store *)base, &root_fd, e);
    if (rc)
        return rc;

    /* O_NONBLOCK: a FIFO that somebody left in the bucket must not hold a worker. */
    auto_close int fd = openat(root_fd, key, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
        return err_fail(e, RC_NOT_FOUND, "no object \"%s\" in %s", key, base->label);
    if (fd == -1 || fstat(fd, st) == -1)
        return file_os(e, errno, "open", key);
    if (!S_ISREG(st->st_mode))
        return err_fail(e, RC_NOT_FOUND, "\"%s\" in %s is no file", key, base->label);
    *out = take_fd(&fd);
    return RC_OK;
}

static enum rc read_range(int fd, const char *key, uint64_t offset, size_t length, struct buf *out,
                          struct err *e)
{
    while (length > 0) {
        ssize_t n = pread(fd, out->data + out->size, length, (off_t)offset);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return file_os(e, errno, "read", key);
        if (n == 0)
            return err_fail(e, RC_CORRUPT, "object \"%s\" shrank while it was read", key);
        out->size += (size_t)n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return RC_OK;
}

static enum rc file_get(struct store *s, const char *key, uint64_t offset, uint64_t length,
                        struct buf *out, uint64_t deadline_ms UNUSED, struct err *e)
{
    struct stat st;
    auto_close int fd = -1;
    enum rc rc = open_object(s, key, &fd, &st, e);
    if (rc)
        return rc;

    uint64_t size = (uint64_t)st.st_size;
    if (length == STORE_TO_END && offset <= size)
        length = size - offset;
    if (offset > size || length > size - offset)
        return err_fail(e, RC_CORRUPT, "object \"%s\" ends at %llu, before what was asked for", key,
                        (unsigned long long)size);
    if (length > out->max - out->size)
        return err_fail(e, RC_CORRUPT, "object \"%s\" has %llu bytes, more than it may", key,
                        (unsigned long long)size);
    rc = buf_reserve(out, (size_t)length, e);
    return rc ? rc : read_range(fd, key, offset, (size_t)length, out, e);
}

static enum rc file_put(struct store *base, const char *key, struct bytes data,
                        uint64_t deadline_ms UNUSED, struct err *e)
{
    struct file_store *s = (struct file_store *)base;
    int root_fd;
    enum rc rc = checked_root(s, &root_fd, e);
    return rc ? rc : file_write(s, root_fd, key, data, e);
}

static enum rc file_head(struct store *s, const char *key, struct store_object *out,
                         uint64_t deadline_ms UNUSED, struct err *e)
{
    struct stat st;
    auto_close int fd = -1;
    enum rc rc = open_object(s, key, &fd, &st, e);
    if (rc)
        return rc;
    *out = (struct store_object){
        .key = key, .size = (uint64_t)st.st_size, .mtime_s = (int64_t)st.st_mtim.tv_sec};
    return RC_OK;
}

static enum rc file_remove(struct store *s, const char *key, uint64_t deadline_ms UNUSED,
                           struct err *e)
{
    int root_fd;
    enum rc rc = checked_root((struct file_store *)s, &root_fd, e);
    if (rc)
        return rc;
    if (unlinkat(root_fd, key, 0) == -1 && errno != ENOENT && errno != ENOTDIR)
        return file_os(e, errno, "remove", key);
    return RC_OK;
}

static enum rc file_list(struct store *s, const char *prefix, const char *after, store_visit visit,
                         void *arg, uint64_t deadline_ms, struct err *e)
{
    int root_fd;
    enum rc rc = checked_root((struct file_store *)s, &root_fd, e);
    return rc ? rc : file_walk(root_fd, prefix, after, visit, arg, deadline_ms, e);
}

static void file_close(struct store *base)
{
    struct file_store *s = (struct file_store *)base;
    if (s->root_fd != -1)
        (void)close(s->root_fd);
    lock_deinit(&s->lock);
    free(s->path);
    free(s);
}

static const struct store_ops file_ops = {
    .name = "file",
    .get = file_get,
    .put = file_put,
    .head = file_head,
    .remove = file_remove,
    .list = file_list,
    .close = file_close,
};

/* Open the deepest directory of path that exists; *rest is what is below it, cut out of path. */
static int open_existing(char *path, char **rest)
{
    char *const end = path + strlen(path);
    *rest = end;
    for (;;) {
        int fd = open(path[0] ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *slash = strrchr(path, '/');
        if (fd != -1 || errno != ENOENT || !slash)
            return fd;
        if (*rest != end)
            (*rest)[-1] = '/';
        *slash = 0;
        *rest = slash + 1;
    }
}

static enum rc make_path(const char *path, struct err *e)
{
    auto_free char *copy = strdup(path);
    if (!copy)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    char *rest;
    auto_close int from = open_existing(copy, &rest);
    auto_close int made = from == -1 ? -1 : file_make_way(from, rest);
    if (made == -1)
        return err_os(e, errno, "could not make bucket directory \"%s\"", path);
    return RC_OK;
}

static enum rc file_new(struct file_store **out, const char *directory, struct err *e)
{
    struct file_store *s = calloc(1, sizeof(*s));
    char *path = strdup(directory);
    if (!s || !path) {
        free(s);
        free(path);
        return err_fail(e, RC_NO_SPACE, "out of memory");
    }
    s->base.ops = &file_ops;
    (void)snprintf(s->base.label, sizeof(s->base.label), "file:%s", directory);
    s->path = path;
    s->root_fd = -1;
    lock_init(&s->lock, LOCK_STORE);
    *out = s;
    return RC_OK;
}

enum rc store_file_open(struct store **out, const char *directory, enum bucket_missing missing,
                        struct err *e)
{
    if (directory[0] != '/')
        return err_fail(e, RC_INVALID, "bucket directory \"%s\" is not absolute", directory);
    enum rc rc = missing == BUCKET_CREATE ? make_path(directory, e) : RC_OK;
    if (rc)
        return rc;

    struct file_store *s = NULL;
    rc = file_new(&s, directory, e);
    if (rc)
        return rc;
    rc = find_root(s, e);
    if (rc == RC_UNAVAILABLE && missing == BUCKET_AWAIT)
        rc = RC_OK;
    if (rc == RC_UNAVAILABLE)
        rc = err_fail(e, RC_NOT_FOUND, "directory \"%s\" does not exist", directory);
    if (rc) {
        file_close(&s->base);
        return rc;
    }
    *out = &s->base;
    return RC_OK;
}
