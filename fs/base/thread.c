#include "fs/base/thread.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

/* Sanitizers widen every frame. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_FACTOR 8
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_FACTOR 8
#endif
#endif
#ifndef STACK_FACTOR
#define STACK_FACTOR 1
#endif

static int create(pthread_t *out, size_t stack_bytes, void *(*body)(void *), void *arg)
{
    size_t least = (size_t)PTHREAD_STACK_MIN;
    size_t wanted = stack_bytes ? stack_bytes : THREAD_STACK_BYTES;
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure)
        return failure;
    failure =
        pthread_attr_setstacksize(&attributes, (wanted < least ? least : wanted) * STACK_FACTOR);
    if (!failure)
        failure = pthread_create(out, &attributes, body, arg);
    (void)pthread_attr_destroy(&attributes);
    return failure;
}

enum rc thread_start(pthread_t *out, const char *name, size_t stack_bytes, void *(*body)(void *),
                     void *arg, struct err *e)
{
    char short_name[16];
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = create(out, stack_bytes, body, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure)
        return err_os(e, failure, "could not start thread \"%s\"", name);

    (void)snprintf(short_name, sizeof(short_name), "%s", name);
    (void)pthread_setname_np(*out, short_name);
    return RC_OK;
}
