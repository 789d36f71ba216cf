/*
 * thread - start a thread as all of ours start: named, with a small stack, and with signals
 * blocked, so that they reach the loop that waits for them.
 */
#ifndef FS_BASE_THREAD_H
#define FS_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

#include "fs/base/err.h"

#define THREAD_STACK_BYTES ((size_t)256 * 1024)

/* name: cut to 15 characters. stack_bytes 0: THREAD_STACK_BYTES. The caller joins or detaches. */
MUST_CHECK enum rc thread_start(pthread_t *out, const char *name, size_t stack_bytes,
                                void *(*body)(void *), void *arg, struct err *e);

#endif
