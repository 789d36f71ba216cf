/*
 * json_stream - a reader of JSON documents that are too large to hold, such as dumps.
 *
 * The caller walks objects and arrays itself and takes values as they come: small ones as text for
 * json_parse(), large ones member by member. What is held is one value.
 *
 * Threads   one at a time
 * Blocking  as the source does
 */
#ifndef FS_BASE_JSON_STREAM_H
#define FS_BASE_JSON_STREAM_H

#include <stdbool.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

struct json_stream;

/* Fill into with up to room bytes; *got 0 at the end. */
typedef enum rc (*json_source)(void *arg, uint8_t *into, size_t room, size_t *got, struct err *e);

MUST_CHECK enum rc json_stream_open(struct json_stream **out, json_source source, void *arg,
                                    struct err *e);
void json_stream_close(struct json_stream **stream);

/* Every verb below: RC_INVALID names the offset of what is not as it should be. */

/* Take a null, if one is next. */
MUST_CHECK enum rc json_stream_null(struct json_stream *s, bool *is_null, struct err *e);
/* Take this character, which is '{' or '['. */
MUST_CHECK enum rc json_stream_enter(struct json_stream *s, char bracket, struct err *e);
/*
 * Is there another member or element? Takes the comma before it, or the bracket that ends the
 * object or array. *is_first begins as true.
 */
MUST_CHECK enum rc json_stream_more(struct json_stream *s, char closing, bool *is_first, bool *more,
                                    struct err *e);
/* The name of a member and the colon behind it, decoded, into out (cleared first). */
MUST_CHECK enum rc json_stream_name(struct json_stream *s, struct buf *out, struct err *e);
/* The text of a whole value into out (cleared first), which bounds it. */
MUST_CHECK enum rc json_stream_value(struct json_stream *s, struct buf *out, struct err *e);
/* Nothing but space may follow. */
MUST_CHECK enum rc json_stream_end(struct json_stream *s, struct err *e);

#endif
