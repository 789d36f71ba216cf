/*
 * buf - a growing byte buffer with a maximum that nobody's input can exceed.
 *
 * Threads   one at a time
 * Units     bytes
 */
#ifndef FS_BASE_BUF_H
#define FS_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "fs/base/attr.h"
#include "fs/base/err.h"

/* Borrowed bytes: pointer and length, never NUL-terminated by promise. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

#define BYTES_OF(literal) ((struct bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

struct buf {
    uint8_t *data; /* NULL while empty and never grown */
    size_t size;
    size_t capacity;
    size_t max;
};

/* Make an empty buffer that may grow to max bytes (not 0). Allocates nothing. */
void buf_init(struct buf *b, size_t max);

/* Free the memory; the buffer is empty and may be used again. */
void buf_deinit(struct buf *b);
#define auto_buf __attribute__((cleanup(buf_deinit)))

/* Forget the content, keep the memory. */
void buf_clear(struct buf *b);

/* Make room for extra more bytes. RC_NO_SPACE past the maximum or without memory. */
MUST_CHECK enum rc buf_reserve(struct buf *b, size_t extra, struct err *e);

MUST_CHECK enum rc buf_add(struct buf *b, const void *data, size_t size, struct err *e);
MUST_CHECK enum rc buf_add_str(struct buf *b, const char *text, struct err *e);
MUST_CHECK enum rc buf_addf(struct buf *b, struct err *e, const char *fmt, ...) PRINTF(3, 4);

/* The content as a C string: keeps a NUL after the end, not counted in size. */
MUST_CHECK enum rc buf_cstr(struct buf *b, const char **out, struct err *e);

struct bytes buf_bytes(const struct buf *b);

#endif
