/*
 * utf8 - names in a file system are bytes; logs and JSON want text.
 *
 * Threads any · Blocking never
 * Source  Unicode 15, table 3-7 (well-formed byte sequences)
 */
#ifndef FS_BASE_UTF8_H
#define FS_BASE_UTF8_H

#include <stddef.h>

/* What stands for bytes that are no text: U+FFFD. */
#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* Bytes of the well-formed sequence that text begins with, 1 to 4; 0 if it begins with none. */
size_t utf8_sequence(const void *text, size_t size);

#endif
