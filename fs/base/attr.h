/*
 * attr - compiler attributes and release by scope.
 *
 * A local marked auto_x is released when its block ends, on every path; take_x() moves the value
 * out, so that ownership reads off the line that hands it over.
 */
#ifndef FS_BASE_ATTR_H
#define FS_BASE_ATTR_H

#include <stdlib.h>
#include <unistd.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED            __attribute__((unused))
#define NORETURN          __attribute__((noreturn))

static inline void attr_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void attr_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

/* Free with free() at the end of the scope; NULL is ignored. */
#define auto_free __attribute__((cleanup(attr_free)))
/* Close at the end of the scope; a negative descriptor is ignored. */
#define auto_close __attribute__((cleanup(attr_close)))

/* Move a heap pointer out of an auto_free variable, leaving NULL. */
static inline void *take_pointer(void *pointer)
{
    void **slot = pointer;
    void *value = *slot;
    *slot = NULL;
    return value;
}

/* Move a descriptor out of an auto_close variable, leaving -1. */
static inline int take_fd(int *fd)
{
    int value = *fd;
    *fd = -1;
    return value;
}

#endif
