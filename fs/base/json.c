#include "fs/base/json.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "fs/base/utf8.h"

#define MOST_TEXT_BYTES    (16U << 20)
#define MOST_NESTING       64
#define MOST_PRINTED_BYTES ((size_t)256 << 20)

/*
 * A struct json is a json_t under another name, never defined: nobody else sees jansson. Const is
 * ours alone, jansson's getters take what they do not change without it.
 */
static struct json *from_jansson(json_t *value)
{
    return (struct json *)value;
}

static json_t *to_jansson(const struct json *value)
{
    return (json_t *)(uintptr_t)value;
}

/*
 * Jansson's own limit of 2048 is compiled in, and its parser recurses. Counting brackets outside
 * of strings is all it takes to know the depth beforehand.
 */
static bool is_nested_too_deeply(struct bytes text)
{
    unsigned depth = 0;
    bool is_in_string = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (is_in_string) {
            i += c == '\\';
            is_in_string = c != '"';
        } else if (c == '"') {
            is_in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MOST_NESTING)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

enum rc json_parse(struct bytes text, struct json **out, struct err *e)
{
    if (text.size > MOST_TEXT_BYTES)
        return err_fail(e, RC_INVALID, "JSON text of %zu bytes is larger than %u", text.size,
                        MOST_TEXT_BYTES);
    if (is_nested_too_deeply(text))
        return err_fail(e, RC_INVALID, "JSON text is nested deeper than %d", MOST_NESTING);

    json_error_t error;
    const char *data = text.size > 0 ? (const char *)text.data : "";
    json_t *value = json_loadb(data, text.size, JSON_DECODE_ANY, &error);
    if (!value)
        return err_fail(e, RC_INVALID, "malformed JSON at line %d column %d: %s", error.line,
                        error.column, error.text);
    *out = from_jansson(value);
    return RC_OK;
}

void json_free(struct json **value)
{
    json_decref(to_jansson(*value));
    *value = NULL;
}

const struct json *json_get(const struct json *object, const char *name)
{
    return from_jansson(json_object_get(to_jansson(object), name));
}

const char *json_as_string(const struct json *value)
{
    return json_string_value(to_jansson(value));
}

const char *json_get_string(const struct json *object, const char *name, const char *fallback)
{
    const char *text = json_as_string(json_get(object, name));
    return text ? text : fallback;
}

int64_t json_get_int(const struct json *object, const char *name, int64_t fallback)
{
    const json_t *value = to_jansson(json_get(object, name));
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool json_get_bool(const struct json *object, const char *name, bool fallback)
{
    const json_t *value = to_jansson(json_get(object, name));
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

size_t json_length(const struct json *array)
{
    return json_array_size(to_jansson(array));
}

const struct json *json_at(const struct json *array, size_t index)
{
    return from_jansson(json_array_get(to_jansson(array), index));
}

void json_each(const struct json *object, json_visit visit, void *arg)
{
    json_t *root = to_jansson(object);
    for (void *at = json_object_iter(root); at; at = json_object_iter_next(root, at))
        visit(json_object_iter_key(at), from_jansson(json_object_iter_value(at)), arg);
}

enum json_kind json_kind(const struct json *value)
{
    if (json_is_object(to_jansson(value)))
        return JSON_KIND_OBJECT;
    return json_is_array(to_jansson(value)) ? JSON_KIND_ARRAY : JSON_KIND_SCALAR;
}

struct json *json_object_new(void)
{
    return from_jansson(json_object());
}

struct json *json_array_new(void)
{
    return from_jansson(json_array());
}

/* Give value, which may be NULL without memory or for a text that is no UTF-8, to the object. */
static enum rc set_new(struct json *object, const char *name, json_t *value, struct err *e)
{
    if (json_object_set_new(to_jansson(object), name, value))
        return err_fail(e, RC_INVALID, "cannot put \"%s\" into a JSON document", name);
    return RC_OK;
}

enum rc json_set_string(struct json *object, const char *name, const char *value, struct err *e)
{
    return json_set_bytes(object, name, (struct bytes){(const uint8_t *)value, strlen(value)}, e);
}

/* Any bytes as text that a document can hold. NULL: no memory, or too long. */
static json_t *text_of(struct bytes value, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, MOST_TEXT_BYTES);
    enum rc rc = RC_OK;
    for (size_t at = 0; !rc && at < value.size;) {
        size_t length = utf8_sequence(value.data + at, value.size - at);
        if (length > 0)
            rc = buf_add(&text, value.data + at, length, e);
        else
            rc = buf_add_str(&text, UTF8_REPLACEMENT, e);
        at += length > 0 ? length : 1;
    }
    if (rc)
        return NULL;
    return json_stringn(text.size > 0 ? (const char *)text.data : "", text.size);
}

enum rc json_set_bytes(struct json *object, const char *name, struct bytes value, struct err *e)
{
    json_t *text = text_of(value, e);
    if (!text && e->code)
        return err_note(e, "cannot put \"%s\" into a JSON document", name);
    return set_new(object, name, text, e);
}

enum rc json_set_int(struct json *object, const char *name, int64_t value, struct err *e)
{
    return set_new(object, name, json_integer(value), e);
}

enum rc json_set_real(struct json *object, const char *name, double value, struct err *e)
{
    return set_new(object, name, json_real(value), e);
}

enum rc json_set_bool(struct json *object, const char *name, bool value, struct err *e)
{
    return set_new(object, name, json_boolean(value), e);
}

enum rc json_set(struct json *object, const char *name, struct json **child, struct err *e)
{
    json_t *value = to_jansson(*child);
    *child = NULL;
    return set_new(object, name, value, e);
}

enum rc json_append(struct json *array, struct json **child, struct err *e)
{
    json_t *value = to_jansson(*child);
    *child = NULL;
    if (json_array_append_new(to_jansson(array), value))
        return err_fail(e, RC_INVALID, "cannot append to a JSON array");
    return RC_OK;
}

enum rc json_append_bytes(struct json *array, struct bytes value, struct err *e)
{
    json_t *text = text_of(value, e);
    if (!text || json_array_append_new(to_jansson(array), text))
        return err_fail(e, RC_INVALID, "cannot append to a JSON array");
    return RC_OK;
}

/* In the order of enum json_style, two of whose names jansson's macros hide here. */
static const size_t dump_flags[] = {JSON_COMPACT, JSON_INDENT(2), JSON_INDENT(1)};

struct output {
    struct buf *out;
    struct err *e;
    bool is_unindented;
    bool is_at_line_start;
};

/*
 * A raw newline is never inside of a JSON string, so what follows one is indentation. It may come
 * in a piece of its own.
 */
static int add_piece(const char *piece, size_t size, void *arg)
{
    struct output *o = arg;
    for (size_t i = 0; i < size;) {
        if (o->is_at_line_start && piece[i] == ' ') {
            i++;
            continue;
        }
        const char *newline = memchr(piece + i, '\n', size - i);
        size_t end = newline ? (size_t)(newline - piece) + 1 : size;
        if (buf_add(o->out, piece + i, end - i, o->e))
            return -1;
        o->is_at_line_start = o->is_unindented && newline;
        i = end;
    }
    return 0;
}

enum rc json_write(const struct json *value, enum json_style style, struct buf *out, struct err *e)
{
    struct output output = {.out = out, .e = e, .is_unindented = style == JSON_LINES};
    size_t before = out->size;
    *e = ERR_INIT;
    if (json_dump_callback(to_jansson(value), add_piece, &output,
                           dump_flags[style] | JSON_ENCODE_ANY) == 0)
        return RC_OK;
    out->size = before;
    return e->code ? e->code : err_fail(e, RC_NO_SPACE, "could not write a JSON document");
}

enum rc json_print(const struct json *value, FILE *to, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, MOST_PRINTED_BYTES);
    if (json_write(value, JSON_INDENT, &text, e) || buf_add_str(&text, "\n", e))
        return e->code;
    if (fwrite(text.data, 1, text.size, to) != text.size || fflush(to) != 0)
        return err_os(e, errno, "could not print a JSON document");
    return RC_OK;
}
