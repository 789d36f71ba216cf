/*
 * json - jansson's home: a bounded reader of foreign documents and a writer.
 *
 * Threads   one document, one thread
 */
#ifndef FS_BASE_JSON_H
#define FS_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/base/buf.h"
#include "fs/base/err.h"

struct json; /* a value: object, array, string, integer, number, bool or null */

/* Parse text (≤ 16 MiB, nesting ≤ 64). RC_INVALID names line and column. Free with json_free(). */
MUST_CHECK enum rc json_parse(struct bytes text, struct json **out, struct err *e);
void json_free(struct json **value);
#define auto_json __attribute__((cleanup(json_free)))

/* Members of an object, borrowed from it. NULL / the fallback when absent or of another type. */
const struct json *json_get(const struct json *object, const char *name);
const char *json_get_string(const struct json *object, const char *name, const char *fallback);
int64_t json_get_int(const struct json *object, const char *name, int64_t fallback);
bool json_get_bool(const struct json *object, const char *name, bool fallback);
const char *json_as_string(const struct json *value); /* NULL if it is no string */
size_t json_length(const struct json *array);
const struct json *json_at(const struct json *array, size_t index);

/* Call visit for every member of an object, in order. */
typedef void (*json_visit)(const char *name, const struct json *value, void *arg);
void json_each(const struct json *object, json_visit visit, void *arg);

/* What a value holds, for a printer. */
enum json_kind { JSON_KIND_SCALAR, JSON_KIND_OBJECT, JSON_KIND_ARRAY };
enum json_kind json_kind(const struct json *value);

/* A new empty object or array; setters copy strings; children move into the parent. */
struct json *json_object_new(void);
struct json *json_array_new(void);
MUST_CHECK enum rc json_set_string(struct json *object, const char *name, const char *value,
                                   struct err *e);
/* Bytes that may not be UTF-8: invalid sequences become U+FFFD. */
MUST_CHECK enum rc json_set_bytes(struct json *object, const char *name, struct bytes value,
                                  struct err *e);
MUST_CHECK enum rc json_set_int(struct json *object, const char *name, int64_t value,
                                struct err *e);
MUST_CHECK enum rc json_set_real(struct json *object, const char *name, double value,
                                 struct err *e);
MUST_CHECK enum rc json_set_bool(struct json *object, const char *name, bool value, struct err *e);
MUST_CHECK enum rc json_set(struct json *object, const char *name, struct json **child,
                            struct err *e);
MUST_CHECK enum rc json_append(struct json *array, struct json **child, struct err *e);
MUST_CHECK enum rc json_append_bytes(struct json *array, struct bytes value, struct err *e);

/* Append the document: indented, or one member per line without indent as JuiceFS's format row. */
enum json_style { JSON_COMPACT, JSON_INDENT, JSON_LINES };
MUST_CHECK enum rc json_write(const struct json *value, enum json_style style, struct buf *out,
                              struct err *e);
/* The document for a reader, indented, with a newline at its end. */
MUST_CHECK enum rc json_print(const struct json *value, FILE *to, struct err *e);

#endif
