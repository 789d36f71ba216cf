/*
 * http_codec - what http.c knows of the protocol, apart from all I/O, so that it can be fuzzed.
 *
 * Threads any · Blocking never
 * Source  RFC 9110, RFC 9112. Only what a scraper or curl sends is taken; the doubtful is refused.
 */
#ifndef FS_BASE_HTTP_CODEC_H
#define FS_BASE_HTTP_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/buf.h"

struct http_head {
    bool is_head;       /* HEAD: the answer has no body */
    struct bytes path;  /* borrowed; without the query */
    uint64_t body_size; /* bytes that follow the head */
};

/*
 * Parse the request line and headers, up to and with the empty line. Returns 0, or the status to
 * answer: 400 malformed, 405 neither GET nor HEAD, 501 a transfer coding, 505 not HTTP/1.x.
 */
int http_parse_head(struct bytes text, struct http_head *out);

/* "Not Found", …; "Error" for a status that we do not know. */
const char *http_reason(int status);

#endif
