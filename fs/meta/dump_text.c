/* The escapes of a dump. */
#include <stddef.h>

#include "fs/base/utf8.h"
#include "fs/meta/dump.h"

static bool is_plain(uint8_t c)
{
    return c > ' ' && c != '%' && c != '"' && c != '\\';
}

enum rc dump_escape(struct bytes text, struct buf *out, struct err *e)
{
    for (size_t at = 0; at < text.size;) {
        const size_t sequence = utf8_sequence(text.data + at, text.size - at);
        enum rc rc;
        if (sequence && is_plain(text.data[at]))
            rc = buf_add(out, text.data + at, sequence, e);
        else
            rc = buf_addf(out, e, "%%%02X", text.data[at]);
        if (rc)
            return rc;
        at += sequence ? sequence : 1;
    }
    return RC_OK;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A "%" that two hex digits do not follow is itself: older dumps do not escape it. */
enum rc dump_unescape(struct bytes text, struct buf *out, struct err *e)
{
    if (buf_reserve(out, text.size, e))
        return e->code;
    for (size_t at = 0; at < text.size; at++) {
        uint8_t c = text.data[at];
        if (c == '%' && at + 2 < text.size) {
            const int high = hex_digit(text.data[at + 1]), low = hex_digit(text.data[at + 2]);
            if (high >= 0 && low >= 0) {
                c = (uint8_t)(high << 4 | low);
                at += 2;
            }
        }
        out->data[out->size++] = c;
    }
    return RC_OK;
}
