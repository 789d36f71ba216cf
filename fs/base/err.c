#include "fs/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The table for errno: what a caller of ours can do about it. The rest is RC_IO. */
static const struct {
    int os_errno;
    enum rc code;
} os_codes[] = {
    {ENOENT, RC_NOT_FOUND},
    {ENOTDIR, RC_NOT_FOUND},
    {ENODEV, RC_NOT_FOUND},
    {ENXIO, RC_NOT_FOUND},
    {EEXIST, RC_EXISTS},
    {EADDRINUSE, RC_EXISTS},
    {ESTALE, RC_STALE},
    {EINVAL, RC_INVALID},
    {ENAMETOOLONG, RC_INVALID},
    {EISDIR, RC_INVALID},
    {ELOOP, RC_INVALID},
    {EOPNOTSUPP, RC_INVALID},
    {ENOSYS, RC_INVALID},
    {EBADF, RC_INVALID},
    {EACCES, RC_DENIED},
    {EPERM, RC_DENIED},
    {EROFS, RC_DENIED},
    {ENOSPC, RC_NO_SPACE},
    {EDQUOT, RC_NO_SPACE},
    {EFBIG, RC_NO_SPACE},
    {ENOMEM, RC_NO_SPACE},
    {EMFILE, RC_NO_SPACE},
    {ENFILE, RC_NO_SPACE},
    {ETIMEDOUT, RC_TIMEOUT},
    {ECANCELED, RC_CANCELLED},
    {EAGAIN, RC_UNAVAILABLE},
    {EBUSY, RC_UNAVAILABLE},
    {ECONNREFUSED, RC_UNAVAILABLE},
    {ECONNRESET, RC_UNAVAILABLE},
    {ECONNABORTED, RC_UNAVAILABLE},
    {ENOTCONN, RC_UNAVAILABLE},
    {EPIPE, RC_UNAVAILABLE},
    {EHOSTUNREACH, RC_UNAVAILABLE},
    {EHOSTDOWN, RC_UNAVAILABLE},
    {ENETUNREACH, RC_UNAVAILABLE},
    {ENETDOWN, RC_UNAVAILABLE},
    {EADDRNOTAVAIL, RC_UNAVAILABLE},
};

static const char *const code_names[] = {
    [RC_OK] = "ok",
    [RC_NOT_FOUND] = "not found",
    [RC_EXISTS] = "exists",
    [RC_STALE] = "stale",
    [RC_INVALID] = "invalid",
    [RC_DENIED] = "denied",
    [RC_NO_SPACE] = "no space",
    [RC_TIMEOUT] = "timeout",
    [RC_CANCELLED] = "cancelled",
    [RC_UNAVAILABLE] = "unavailable",
    [RC_CORRUPT] = "corrupt",
    [RC_IO] = "io",
    [RC_UNCERTAIN] = "uncertain",
    [RC_REFUSED] = "refused",
};

/* Numbers without a name: the gaps of Linux, and what kernels newer than our libc may answer. */
#define TEN(tens)                                                                                  \
    "E" #tens "0", "E" #tens "1", "E" #tens "2", "E" #tens "3", "E" #tens "4", "E" #tens "5",      \
        "E" #tens "6", "E" #tens "7", "E" #tens "8", "E" #tens "9"

static const char *const number_names[] = {
    TEN(),   TEN(1),  TEN(2),  TEN(3),  TEN(4),  TEN(5),  TEN(6),  TEN(7),  TEN(8),
    TEN(9),  TEN(10), TEN(11), TEN(12), TEN(13), TEN(14), TEN(15), TEN(16), TEN(17),
    TEN(18), TEN(19), TEN(20), TEN(21), TEN(22), TEN(23), TEN(24), TEN(25),
};

#undef TEN

enum { NUMBER_NAMES = sizeof(number_names) / sizeof(number_names[0]) };

static enum rc rc_of_errno(int os_errno)
{
    for (size_t i = 0; i < sizeof(os_codes) / sizeof(os_codes[0]); i++)
        if (os_codes[i].os_errno == os_errno)
            return os_codes[i].code;
    return RC_IO;
}

/*
 * Format, then set: arguments may point into the text that is replaced.
 */
static enum rc err_set(struct err *e, enum rc code, int posix, const char *fmt, va_list args)
    PRINTF(4, 0);

static enum rc err_set(struct err *e, enum rc code, int posix, const char *fmt, va_list args)
{
    char text[ERR_TEXT_BYTES];
    (void)vsnprintf(text, sizeof(text), fmt, args);
    memcpy(e->text, text, sizeof(text));
    e->code = code;
    e->posix = posix;
    e->exit_code = 0;
    return code;
}

/* Put words behind the text, as far as they fit. */
static void err_append(struct err *e, const char *words)
{
    size_t length = strnlen(e->text, sizeof(e->text) - 1);
    (void)snprintf(e->text + length, sizeof(e->text) - length, ": %s", words);
}

static void append_description(struct err *e, int posix)
{
    const char *description = strerrordesc_np(posix);
    err_append(e, description ? description : err_posix_name(posix));
}

enum rc err_fail(struct err *e, enum rc code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    err_set(e, code, 0, fmt, args);
    va_end(args);
    return code;
}

enum rc err_note(struct err *e, const char *fmt, ...)
{
    char inner[ERR_TEXT_BYTES];
    memcpy(inner, e->text, sizeof(inner));
    const int exit_code = e->exit_code;

    va_list args;
    va_start(args, fmt);
    err_set(e, e->code, e->posix, fmt, args);
    va_end(args);

    err_append(e, inner);
    e->exit_code = exit_code;
    return e->code;
}

enum rc err_os(struct err *e, int os_errno, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    enum rc code = err_set(e, rc_of_errno(os_errno), 0, fmt, args);
    va_end(args);

    append_description(e, os_errno);
    return code;
}

enum rc err_refused(struct err *e, int posix_errno, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    enum rc code = err_set(e, RC_REFUSED, posix_errno, fmt, args);
    va_end(args);

    append_description(e, posix_errno);
    return code;
}

enum rc err_exits(struct err *e, int exit_code)
{
    e->exit_code = exit_code;
    return e->code;
}

const char *rc_name(enum rc code)
{
    size_t index = (size_t)code;
    return index < sizeof(code_names) / sizeof(code_names[0]) ? code_names[index] : "unknown";
}

const char *err_posix_name(int posix_errno)
{
    const char *name = posix_errno > 0 ? strerrorname_np(posix_errno) : NULL;
    if (name)
        return name;
    return posix_errno >= 0 && posix_errno < NUMBER_NAMES ? number_names[posix_errno] : "E?";
}
