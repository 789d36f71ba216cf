/*
 * banned - words that do not compile here, each with what to write instead. Every file gets this
 * by -include, so the headers that use the words themselves must come before.
 *
 *   sprintf strcpy strcat    snprintf, struct buf
 *   strtok atoi              strcspn, conf_parse_size, strtoll with its end checked
 *   gmtime localtime         gmtime_r, localtime_r
 *   strerror                 err_os
 */
#ifndef FS_BASE_BANNED_H
#define FS_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* With _FORTIFY_SOURCE clang has some of them as macros, which cannot be poisoned. */
#undef sprintf
#undef vsprintf
#undef strcpy
#undef strcat

#pragma GCC poison sprintf vsprintf strcpy strcat strtok atoi gmtime localtime

/* Not poisoned, as a macro of libevent that nobody uses names it: only using it is an error. */
char *strerror(int number) __attribute__((deprecated("it is not thread-safe: use err_os")));

#endif
