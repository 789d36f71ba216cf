/*
 * array - room in an array that grows: the caller keeps pointer, count and room as he likes.
 *
 *     if (array_reserve(&w->dirs, &w->room, w->count + 1, sizeof(*w->dirs), e))
 *         return e->code;
 *     w->dirs[w->count++] = dir;
 *
 * Room doubles, so that adding one by one takes time in proportion to their number. Free with
 * free().
 *
 * Threads   any, an array by one at a time
 * Blocking  never
 * Units     room and need in elements
 * Tests     tests/unit/fs_base/array_test.c
 */
#ifndef FS_BASE_ARRAY_H
#define FS_BASE_ARRAY_H

#include <stddef.h>

#include "fs/base/err.h"

/*
 * Make room for `need` elements. array is the address of the pointer, which is NULL with room 0 at
 * first. New elements hold no particular bytes.
 *
 * RC_NO_SPACE  no memory, or more bytes than a size_t counts; the array is as it was
 */
MUST_CHECK enum rc array_reserve(void *array, size_t *room, size_t need, size_t element_bytes,
                                 struct err *e);

#endif
