/*
 * The ordered walk. One directory's entries are read and sorted at a time; a directory sorts as its
 * name with the slash behind it, which makes the order of the walk the byte order of full keys
 * ("a-" before "a/b", since '-' < '/').
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"
#include "fs/store/file.h"

/* A directory's names in memory; one that needs more was not made by us. */
#define NAMES_MAX_BYTES ((size_t)1 << 30)
/* Keys have four components; a tree this deep is a loop of links or a trap for our stack. */
#define DEPTH_MAX 64

struct walk {
    int root_fd;
    const char *prefix, *after;
    store_visit visit;
    void *arg;
    uint64_t deadline_ms;
    unsigned depth;
    bool is_stopped;
    char path[STORE_KEY_MAX]; /* where the walk is: "" or "a/b/" */
};

/* The names of one directory: NUL-terminated, a directory's with its slash. */
struct names {
    struct buf text;
    const char **sorted; /* into text */
    size_t count;
};

static void names_deinit(struct names *n)
{
    buf_deinit(&n->text);
    free(n->sorted);
}
#define auto_names __attribute__((cleanup(names_deinit)))

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum rc names_sort(struct names *n, struct err *e)
{
    if (n->count == 0)
        return RC_OK;
    n->sorted = calloc(n->count, sizeof(*n->sorted));
    if (!n->sorted)
        return err_fail(e, RC_NO_SPACE, "out of memory for %zu names", n->count);
    const char *at = (const char *)n->text.data;
    for (size_t i = 0; i < n->count; i++) {
        n->sorted[i] = at;
        at += strlen(at) + 1;
    }
    qsort(n->sorted, n->count, sizeof(*n->sorted), compare_names);
    return RC_OK;
}

/* May a key that begins with path (the whole key, or a directory's with its slash) be wanted? */
static bool is_wanted(const struct walk *w, const char *path)
{
    const size_t size = strlen(path);
    const size_t prefix_size = strlen(w->prefix);
    if (strncmp(path, w->prefix, size < prefix_size ? size : prefix_size) != 0)
        return false;
    if (path[size - 1] == '/')
        return strncmp(path, w->after, size) >= 0;
    return size >= prefix_size && strcmp(path, w->after) > 0;
}

/* Put name behind path. False where no key can be that long. */
static bool path_push(struct walk *w, size_t at, const char *name)
{
    const size_t size = strlen(name);
    if (at + size >= sizeof(w->path)) {
        log_warn("left out of a listing: \"%s%s\" is too long for an object key", w->path, name);
        return false;
    }
    memcpy(w->path + at, name, size + 1);
    return true;
}

/* A directory, by d_type where the file system says it, else by looking. Links are followed. */
static bool is_directory(int dir_fd, const struct dirent *entry)
{
    if (entry->d_type == DT_DIR || entry->d_type == DT_REG)
        return entry->d_type == DT_DIR;
    struct stat st;
    return fstatat(dir_fd, entry->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static bool is_skipped(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           strncmp(name, FILE_DRAFT_PREFIX, strlen(FILE_DRAFT_PREFIX)) == 0;
}

/* Keep one entry if something below it may be wanted. */
static enum rc names_add(struct walk *w, struct names *n, int dir_fd, const struct dirent *entry,
                         struct err *e)
{
    if (is_skipped(entry->d_name))
        return RC_OK;
    char name[sizeof(entry->d_name) + 1];
    size_t size = strlen(entry->d_name);
    memcpy(name, entry->d_name, size + 1);
    if (is_directory(dir_fd, entry)) {
        name[size++] = '/';
        name[size] = 0;
    }

    const size_t at = strlen(w->path);
    bool is_kept = path_push(w, at, name) && is_wanted(w, w->path);
    w->path[at] = 0;
    if (!is_kept)
        return RC_OK;
    n->count++;
    return buf_add(&n->text, name, size + 1, e);
}

static void close_directory(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

/* Read the directory at w->path. One that is not there has no names. */
static enum rc names_read(struct walk *w, struct names *n, struct err *e)
{
    int fd = openat(w->root_fd, w->path[0] ? w->path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
        return RC_OK;
    __attribute__((cleanup(close_directory))) DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    if (!dir) {
        enum rc rc = err_os(e, errno, "could not list \"%s\"", w->path);
        attr_close(&fd);
        return rc;
    }

    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry && errno && errno != ENOENT)
            return err_os(e, errno, "could not list \"%s\"", w->path);
        if (!entry)
            return names_sort(n, e);
        enum rc rc = names_add(w, n, fd, entry, e);
        if (rc)
            return rc;
    }
}

/* Show the file at w->path. One that vanished meanwhile is not an object any more. */
static enum rc show(struct walk *w, struct err *e)
{
    struct stat st;
    if (fstatat(w->root_fd, w->path, &st, 0) == -1)
        return errno == ENOENT ? RC_OK : err_os(e, errno, "could not look at \"%s\"", w->path);
    if (!S_ISREG(st.st_mode))
        return RC_OK;
    struct store_object object = {
        .key = w->path, .size = (uint64_t)st.st_size, .mtime_s = (int64_t)st.st_mtim.tv_sec};
    w->is_stopped = !w->visit(&object, w->arg);
    return RC_OK;
}

static enum rc walk_directory(struct walk *w, struct err *e)
{
    if (w->depth == DEPTH_MAX)
        return err_fail(e, RC_INVALID, "\"%.100s…\" is nested too deeply to be listed", w->path);
    auto_names struct names names = {0};
    buf_init(&names.text, NAMES_MAX_BYTES);
    enum rc rc = names_read(w, &names, e);

    const size_t at = strlen(w->path);
    w->depth++;
    for (size_t i = 0; i < names.count && rc == RC_OK && !w->is_stopped; i++) {
        if (clock_left(w->deadline_ms) == 0)
            return err_fail(e, RC_TIMEOUT, "deadline passed while listing \"%s\"", w->path);
        if (!path_push(w, at, names.sorted[i]))
            continue;
        rc = w->path[strlen(w->path) - 1] == '/' ? walk_directory(w, e) : show(w, e);
        w->path[at] = 0;
    }
    w->depth--;
    return rc;
}

enum rc file_walk(int root_fd, const char *prefix, const char *after, store_visit visit, void *arg,
                  uint64_t deadline_ms, struct err *e)
{
    struct walk w = {
        .root_fd = root_fd,
        .prefix = prefix,
        .after = after,
        .visit = visit,
        .arg = arg,
        .deadline_ms = deadline_ms,
    };
    /* Begin in the directory that the prefix names, not at the root. */
    const char *slash = strrchr(prefix, '/');
    if (slash)
        memcpy(w.path, prefix, (size_t)(slash - prefix) + 1);
    return walk_directory(&w, e);
}
