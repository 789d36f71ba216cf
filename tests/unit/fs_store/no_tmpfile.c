/*
 * Linked with --wrap=openat: the tests of the directory driver on a file system that has no
 * unnamed files, as network file systems are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

int __real_openat(int dir_fd, const char *path, int flags, ...);
int __wrap_openat(int dir_fd, const char *path, int flags, ...);

int __wrap_openat(int dir_fd, const char *path, int flags, ...)
{
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    return __real_openat(dir_fd, path, flags, mode);
}
