/*
 * The durable write. An object has no name before its bytes are on disk, and put() does not answer
 * before the name and every directory above it are, so RC_OK survives a power cut; a kill leaves
 * either the whole object or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/crypto.h"
#include "fs/base/hash.h"
#include "fs/store/file.h"

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* A file that is no object yet: without a name where the file system can do that. */
struct draft {
    int dir_fd;
    int fd;
    char name[sizeof(FILE_DRAFT_PREFIX) + 16]; /* "": none */
};

static void draft_deinit(struct draft *d)
{
    if (d->name[0] != 0)
        (void)unlinkat(d->dir_fd, d->name, 0);
    attr_close(&d->fd);
}
#define auto_draft __attribute__((cleanup(draft_deinit)))

static enum rc draft_name(char out[static sizeof(FILE_DRAFT_PREFIX) + 16], struct err *e)
{
    uint64_t random;
    enum rc rc = crypto_random(&random, sizeof(random), e);
    if (rc)
        return rc;
    (void)snprintf(out, sizeof(FILE_DRAFT_PREFIX) + 16, FILE_DRAFT_PREFIX "%016llx",
                   (unsigned long long)random);
    return RC_OK;
}

static enum rc draft_open(struct draft *d, const char *key, struct err *e)
{
    d->fd = openat(d->dir_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
    /* Network file systems cannot; old kernels take the flag for O_DIRECTORY. */
    if (d->fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        char name[sizeof(d->name)];
        enum rc rc = draft_name(name, e);
        if (rc)
            return rc;
        d->fd = openat(d->dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (d->fd != -1)
            memcpy(d->name, name, sizeof(name));
    }
    return d->fd == -1 ? file_os(e, errno, "create", key) : RC_OK;
}

static enum rc draft_fill(const struct draft *d, const char *key, struct bytes data, struct err *e)
{
    while (data.size > 0) {
        ssize_t n = write(d->fd, data.data, data.size);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return file_os(e, errno, "write", key);
        data.data += n;
        data.size -= (size_t)n;
    }
    return fdatasync(d->fd) == -1 ? file_os(e, errno, "sync", key) : RC_OK;
}

static int draft_link(const struct draft *d, const char *name)
{
    char self[64];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", d->fd);
    return linkat(AT_FDCWD, self, d->dir_fd, name, AT_SYMLINK_FOLLOW);
}

/* Give the draft its name, in place of what had it. */
static enum rc draft_publish(struct draft *d, const char *name, const char *key, struct err *e)
{
    if (d->name[0] == 0) {
        if (draft_link(d, name) == 0)
            return RC_OK;
        if (errno != EEXIST)
            return file_os(e, errno, "name", key);
        /* Only a rename replaces a name in one step, and only a name can be renamed. */
        char temporary[sizeof(d->name)];
        enum rc rc = draft_name(temporary, e);
        if (rc)
            return rc;
        if (draft_link(d, temporary) == -1)
            return file_os(e, errno, "name", key);
        memcpy(d->name, temporary, sizeof(temporary));
    }
    if (renameat(d->dir_fd, d->name, d->dir_fd, name) == -1)
        return file_os(e, errno, "rename", key);
    d->name[0] = 0;
    return RC_OK;
}

/* Some file systems refuse to sync a directory; their names are then as durable as they get. */
static int sync_directory(int fd)
{
    return fsync(fd) == -1 && errno != EINVAL ? -1 : 0;
}

/* Open child below *at, making it if need be, sync its name in *at, and step into it. */
static int descend(int *at, const char *child)
{
    int fd = openat(*at, child, OPEN_DIRECTORY);
    if (fd == -1 && errno == ENOENT) {
        if (mkdirat(*at, child, 0755) == -1 && errno != EEXIST)
            return -1;
        fd = openat(*at, child, OPEN_DIRECTORY);
    }
    if (fd == -1)
        return -1;
    /* Also when it was there: whoever made it may not have synced it yet, or never does. */
    if (sync_directory(*at) == -1) {
        attr_close(&fd);
        return -1;
    }
    attr_close(at);
    *at = fd;
    return 0;
}

int file_make_way(int from_fd, char *way)
{
    auto_close int at = openat(from_fd, ".", OPEN_DIRECTORY);
    char *rest = way;
    for (char *name = strsep(&rest, "/"); name && at != -1; name = strsep(&rest, "/")) {
        if (name[0] != 0 && descend(&at, name) == -1)
            return -1;
    }
    return take_fd(&at);
}

/* The directory of key, its way from the root durable. */
static int open_parent(struct file_store *s, int root_fd, const char *key)
{
    const char *slash = strrchr(key, '/');
    if (!slash)
        return openat(root_fd, ".", OPEN_DIRECTORY);

    char directory[STORE_KEY_MAX];
    const size_t size = (size_t)(slash - key);
    memcpy(directory, key, size);
    directory[size] = 0;

    const uint64_t hash = hash_bytes(directory, size);
    _Atomic uint64_t *slot = &s->durable[hash % FILE_DURABLE_SLOTS];
    if (atomic_load_explicit(slot, memory_order_relaxed) == hash) {
        int fd = openat(root_fd, directory, OPEN_DIRECTORY);
        if (fd != -1 || errno != ENOENT)
            return fd;
    }
    int fd = file_make_way(root_fd, directory);
    if (fd != -1)
        atomic_store_explicit(slot, hash, memory_order_relaxed);
    return fd;
}

enum rc file_write(struct file_store *s, int root_fd, const char *key, struct bytes data,
                   struct err *e)
{
    const char *slash = strrchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    if (strncmp(name, FILE_DRAFT_PREFIX, strlen(FILE_DRAFT_PREFIX)) == 0)
        return err_fail(e, RC_INVALID, "object names beginning with \"%s\" are reserved",
                        FILE_DRAFT_PREFIX);

    auto_close int dir_fd = open_parent(s, root_fd, key);
    if (dir_fd == -1)
        return file_os(e, errno, "open the directory of", key);

    auto_draft struct draft draft = {.dir_fd = dir_fd, .fd = -1};
    enum rc rc = draft_open(&draft, key, e);
    if (rc == RC_OK)
        rc = draft_fill(&draft, key, data, e);
    if (rc == RC_OK)
        rc = draft_publish(&draft, name, key, e);
    if (rc)
        return rc;

    if (sync_directory(dir_fd) == -1) {
        (void)file_os(e, errno, "sync the name of", key);
        return e->code = RC_UNCERTAIN;
    }
    return RC_OK;
}
