#include "fs/base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SMALLEST 64

void buf_init(struct buf *b, size_t max)
{
    assert(max > 0 && max < SIZE_MAX);
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
    b->size = 0;
}

/* Make capacity at least needed: by doubling, so that many small additions stay cheap. */
static enum rc grow(struct buf *b, size_t needed, struct err *e)
{
    size_t doubled = b->capacity < b->max / 2 ? b->capacity * 2 : b->max;
    size_t capacity = needed > doubled ? needed : doubled;
    if (capacity < SMALLEST && SMALLEST <= b->max)
        capacity = SMALLEST;

    uint8_t *data = realloc(b->data, capacity);
    if (!data)
        return err_fail(e, RC_NO_SPACE, "out of memory for a buffer of %zu bytes", capacity);
    b->data = data;
    b->capacity = capacity;
    return RC_OK;
}

enum rc buf_reserve(struct buf *b, size_t extra, struct err *e)
{
    if (extra > b->max - b->size)
        return err_fail(e, RC_NO_SPACE, "%zu bytes and %zu more exceed the limit of %zu", b->size,
                        extra, b->max);
    if (extra <= b->capacity - b->size)
        return RC_OK;
    return grow(b, b->size + extra, e);
}

enum rc buf_add(struct buf *b, const void *data, size_t size, struct err *e)
{
    if (size == 0)
        return RC_OK;
    enum rc rc = buf_reserve(b, size, e);
    if (rc)
        return rc;
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return RC_OK;
}

enum rc buf_add_str(struct buf *b, const char *text, struct err *e)
{
    return buf_add(b, text, strlen(text), e);
}

/* Print into what room there is; returns the length that it wants. */
static int print_at_end(struct buf *b, const char *fmt, va_list args) PRINTF(2, 0);

static int print_at_end(struct buf *b, const char *fmt, va_list args)
{
    char none[1];
    size_t room = b->capacity - b->size;
    return vsnprintf(room > 0 ? (char *)b->data + b->size : none, room, fmt, args);
}

enum rc buf_addf(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int wanted = print_at_end(b, fmt, args);
    va_end(args);
    if (wanted < 0)
        return err_fail(e, RC_INVALID, "cannot format text");

    size_t length = (size_t)wanted;
    if (length > b->max - b->size)
        return buf_reserve(b, length, e);
    if (length >= b->capacity - b->size) {
        /* One more than the text, for the NUL that is printed behind it. */
        enum rc rc = grow(b, b->size + length + 1, e);
        if (rc)
            return rc;
        va_start(args, fmt);
        (void)print_at_end(b, fmt, args);
        va_end(args);
    }
    b->size += length;
    return RC_OK;
}

enum rc buf_cstr(struct buf *b, const char **out, struct err *e)
{
    if (b->size >= b->capacity) {
        enum rc rc = grow(b, b->size + 1, e);
        if (rc)
            return rc;
    }
    b->data[b->size] = 0;
    *out = (const char *)b->data;
    return RC_OK;
}

struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->size};
}
