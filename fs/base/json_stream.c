#include "fs/base/json_stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/json.h"

#define WINDOW_BYTES ((size_t)256 << 10)
#define END_OF_TEXT  (-1)

struct json_stream {
    json_source source;
    void *arg;
    uint64_t offset; /* of window[0] in the document */
    size_t at, size;
    uint8_t window[WINDOW_BYTES];
};

enum rc json_stream_open(struct json_stream **out, json_source source, void *arg, struct err *e)
{
    struct json_stream *s = malloc(sizeof(*s));
    if (!s)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    s->source = source;
    s->arg = arg;
    s->offset = 0;
    s->at = s->size = 0;
    *out = s;
    return RC_OK;
}

void json_stream_close(struct json_stream **stream)
{
    free(*stream);
    *stream = NULL;
}

static enum rc malformed(const struct json_stream *s, const char *wanted, struct err *e)
{
    return err_fail(e, RC_INVALID, "malformed JSON at byte %" PRIu64 ": %s expected",
                    s->offset + s->at, wanted);
}

/* The next character, which stays; END_OF_TEXT when there is none. */
static enum rc look(struct json_stream *s, int *c, struct err *e)
{
    if (s->at == s->size) {
        s->offset += s->size;
        s->at = 0;
        if (s->source(s->arg, s->window, WINDOW_BYTES, &s->size, e)) {
            s->size = 0;
            return e->code;
        }
    }
    *c = s->at < s->size ? s->window[s->at] : END_OF_TEXT;
    return RC_OK;
}

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The same behind white space. */
static enum rc look_past_space(struct json_stream *s, int *c, struct err *e)
{
    for (;;) {
        if (look(s, c, e))
            return e->code;
        if (!is_space(*c))
            return RC_OK;
        s->at++;
    }
}

static enum rc expect(struct json_stream *s, char wanted, struct err *e)
{
    int c = END_OF_TEXT;
    const char name[] = {'"', wanted, '"', '\0'};
    if (look_past_space(s, &c, e))
        return e->code;
    if (c != wanted)
        return malformed(s, name, e);
    s->at++;
    return RC_OK;
}

enum rc json_stream_enter(struct json_stream *s, char bracket, struct err *e)
{
    return expect(s, bracket, e);
}

enum rc json_stream_null(struct json_stream *s, bool *is_null, struct err *e)
{
    int c = END_OF_TEXT;
    auto_buf struct buf word;
    buf_init(&word, sizeof("null") - 1);
    if (look_past_space(s, &c, e))
        return e->code;
    *is_null = c == 'n';
    if (!*is_null)
        return RC_OK;
    if (json_stream_value(s, &word, e) || memcmp(word.data, "null", word.size) != 0)
        return malformed(s, "null", e);
    return RC_OK;
}

enum rc json_stream_more(struct json_stream *s, char closing, bool *is_first, bool *more,
                         struct err *e)
{
    int c = END_OF_TEXT;
    if (look_past_space(s, &c, e))
        return e->code;
    *more = c != closing;
    if (!*more)
        s->at++;
    else if (!*is_first && expect(s, ',', e))
        return e->code;
    *is_first = false;
    return RC_OK;
}

/* Copy a string with its quotes; the opening one is next. A run at a time, for most are long. */
static enum rc copy_string(struct json_stream *s, struct buf *out, struct err *e)
{
    bool is_escaped = false, is_open = false;
    for (;;) {
        int c = END_OF_TEXT;
        if (look(s, &c, e))
            return e->code;
        if (c == END_OF_TEXT)
            return malformed(s, "the end of a string", e);
        const size_t begin = s->at;
        bool is_over = false;
        while (s->at < s->size && !is_over) {
            const uint8_t byte = s->window[s->at++];
            is_over = byte == '"' && is_open && !is_escaped;
            is_escaped = byte == '\\' && !is_escaped;
            is_open = true;
        }
        if (buf_add(out, s->window + begin, s->at - begin, e))
            return e->code;
        if (is_over)
            return RC_OK;
    }
}

enum rc json_stream_value(struct json_stream *s, struct buf *out, struct err *e)
{
    int depth = 0, c = END_OF_TEXT;
    buf_clear(out);
    if (look_past_space(s, &c, e))
        return e->code;
    for (;;) {
        if (look(s, &c, e))
            return e->code;
        const bool is_end = c == END_OF_TEXT || is_space(c) || c == ',' || c == '}' || c == ']';
        if (depth == 0 && is_end)
            return out->size ? RC_OK : malformed(s, "a value", e);
        if (c == END_OF_TEXT)
            return malformed(s, "the end of a value", e);
        if (c == '"') {
            if (copy_string(s, out, e))
                return e->code;
        } else {
            const uint8_t byte = (uint8_t)c;
            s->at++;
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            if (buf_add(out, &byte, 1, e))
                return e->code;
        }
        if (depth == 0 && (c == '"' || c == '}' || c == ']'))
            return RC_OK;
    }
}

/* Jansson knows what escapes mean. */
static enum rc decode(const struct json_stream *s, struct buf *text, struct err *e)
{
    auto_json struct json *value = NULL;
    if (json_parse(buf_bytes(text), &value, e))
        return err_note(e, "at byte %" PRIu64, s->offset + s->at);
    const char *decoded = json_as_string(value);
    buf_clear(text);
    return decoded ? buf_add_str(text, decoded, e) : malformed(s, "a string", e);
}

enum rc json_stream_name(struct json_stream *s, struct buf *out, struct err *e)
{
    int c = END_OF_TEXT;
    buf_clear(out);
    if (look_past_space(s, &c, e))
        return e->code;
    if (c != '"')
        return malformed(s, "a name", e);
    if (copy_string(s, out, e) || decode(s, out, e))
        return e->code;
    return expect(s, ':', e);
}

enum rc json_stream_end(struct json_stream *s, struct err *e)
{
    int c = END_OF_TEXT;
    if (look_past_space(s, &c, e))
        return e->code;
    return c == END_OF_TEXT ? RC_OK : malformed(s, "the end", e);
}
