#include "fs/cli/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#define ZLIB_BUFFER_BYTES (256 << 10)

struct archive {
    gzFile file;
    int sync_fd;         /* of a file that is written, -1: a stream */
    char path[PATH_MAX]; /* "": a stream, or one that is read */
    char unfinished[PATH_MAX];
};

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text), tail = strlen(end);
    return size >= tail && strcmp(text + size - tail, end) == 0;
}

static enum rc refuse_zstd(const char *path, struct err *e)
{
    if (!ends_with(path, ".zstd") && !ends_with(path, ".zst"))
        return RC_OK;
    return err_fail(e, RC_INVALID, "\"%s\": dumps are plain or .gz here; use zstd beside it", path);
}

/* Hand a descriptor to zlib, which closes it from then on. "T" in a mode is no compression. */
static enum rc attach(struct archive *a, int fd, const char *mode, struct err *e)
{
    a->file = fd == -1 ? NULL : gzdopen(fd, mode);
    if (a->file)
        return gzbuffer(a->file, ZLIB_BUFFER_BYTES) == 0
                   ? RC_OK
                   : err_fail(e, RC_NO_SPACE, "out of memory");
    if (fd != -1)
        close(fd);
    return err_fail(e, RC_NO_SPACE, "out of memory");
}

static struct archive *new_archive(struct err *e)
{
    struct archive *a = calloc(1, sizeof(*a));
    if (a)
        a->sync_fd = -1;
    else
        err_fail(e, RC_NO_SPACE, "out of memory");
    return a;
}

static enum rc create_file(struct archive *a, const char *path, struct err *e)
{
    const int size = snprintf(a->unfinished, sizeof(a->unfinished), "%s.tmp", path);
    if (size >= (int)sizeof(a->unfinished))
        return err_fail(e, RC_INVALID, "the name of the file is too long");
    snprintf(a->path, sizeof(a->path), "%s", path);
    const int fd = open(a->unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        err_os(e, errno, "could not create \"%s\"", a->unfinished);
        a->unfinished[0] = '\0';
        return e->code;
    }
    /* One that a former run left may be readable by others. */
    if (fchmod(fd, 0600) == -1 || (a->sync_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1) {
        err_os(e, errno, "could not prepare \"%s\"", a->unfinished);
        close(fd);
        return e->code;
    }
    return attach(a, fd, ends_with(path, ".gz") ? "wb1" : "wbT", e);
}

enum rc archive_create(struct archive **out, const char *path, struct err *e)
{
    if (refuse_zstd(path, e))
        return e->code;
    struct archive *a = new_archive(e);
    if (!a)
        return e->code;
    enum rc rc = *path ? create_file(a, path, e)
                       : attach(a, fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), "wbT", e);
    if (rc)
        archive_close(&a);
    *out = a;
    return rc;
}

enum rc archive_write(struct archive *a, struct bytes data, struct err *e)
{
    while (data.size > 0) {
        const unsigned piece = data.size < INT_MAX ? (unsigned)data.size : INT_MAX;
        errno = 0;
        if (gzwrite(a->file, data.data, piece) <= 0)
            return err_os(e, errno ? errno : EIO, "could not write \"%s\"", a->path);
        data.data += piece;
        data.size -= piece;
    }
    return RC_OK;
}

static enum rc sync_directory(const char *path, struct err *e)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof(directory), "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    auto_close int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1 || fsync(fd) == -1)
        return err_os(e, errno, "could not sync the directory of \"%s\"", path);
    return RC_OK;
}

enum rc archive_finish(struct archive *a, struct err *e)
{
    errno = 0;
    const int end = gzclose(a->file);
    a->file = NULL;
    if (end != Z_OK)
        return err_os(e, errno ? errno : EIO, "could not write \"%s\"", a->path);
    if (!a->path[0])
        return RC_OK;
    if (fsync(a->sync_fd) == -1)
        return err_os(e, errno, "could not write \"%s\"", a->unfinished);
    if (rename(a->unfinished, a->path) == -1)
        return err_os(e, errno, "could not rename \"%s\"", a->unfinished);
    a->unfinished[0] = '\0';
    return sync_directory(a->path, e);
}

enum rc archive_open(struct archive **out, const char *path, struct err *e)
{
    if (refuse_zstd(path, e))
        return e->code;
    struct archive *a = new_archive(e);
    if (!a)
        return e->code;
    const int fd =
        *path ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    enum rc rc =
        fd == -1 ? err_os(e, errno, "could not open \"%s\"", path) : attach(a, fd, "rb", e);
    if (rc)
        archive_close(&a);
    *out = a;
    return rc;
}

enum rc archive_read(struct archive *a, uint8_t *into, size_t room, size_t *got, struct err *e)
{
    const int size = gzread(a->file, into, room < INT_MAX ? (unsigned)room : INT_MAX);
    int error = Z_OK;
    const char *text = gzerror(a->file, &error);
    if (size < 0 || error == Z_BUF_ERROR)
        return err_fail(e, RC_CORRUPT, "could not read the dump: %s", text);
    *got = (size_t)size;
    return RC_OK;
}

void archive_close(struct archive **archive)
{
    struct archive *a = *archive;
    if (!a)
        return;
    if (a->file)
        (void)gzclose(a->file);
    if (a->sync_fd != -1)
        close(a->sync_fd);
    if (a->unfinished[0])
        (void)unlink(a->unfinished);
    free(a);
    *archive = NULL;
}
