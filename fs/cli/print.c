#include "fs/cli/print.h"

#include <stdio.h>

#include "fs/base/buf.h"

#define MAX_DOCUMENT_BYTES ((size_t)256 << 20)
#define NAME_WIDTH         14

/* A scalar without the quotes of JSON. */
static void print_scalar(const struct json *value, FILE *to)
{
    struct err e = ERR_INIT;
    auto_buf struct buf text;
    buf_init(&text, MAX_DOCUMENT_BYTES);
    const char *line = json_as_string(value);
    if (!line && (json_write(value, JSON_COMPACT, &text, &e) || buf_cstr(&text, &line, &e)))
        line = "?";
    fputs(line, to);
}

/* One element of a list on one line: name=value name=value. */
static void print_in_line(const char *name, const struct json *value, void *arg)
{
    FILE *to = arg;
    fprintf(to, "  %s=", name);
    print_scalar(value, to);
}

static void print_member(const char *name, const struct json *value, void *arg)
{
    FILE *to = arg;
    switch (json_kind(value)) {
    case JSON_KIND_SCALAR:
        fprintf(to, "%-*s ", NAME_WIDTH, name);
        print_scalar(value, to);
        fputc('\n', to);
        break;
    case JSON_KIND_OBJECT:
        fprintf(to, "%s:\n", name);
        json_each(value, print_member, to);
        break;
    case JSON_KIND_ARRAY:
        fprintf(to, "%s: %zu\n", name, json_length(value));
        for (size_t i = 0; i < json_length(value); i++) {
            json_each(json_at(value, i), print_in_line, to);
            fputc('\n', to);
        }
        break;
    }
}

enum rc print_document(const struct json *doc, bool as_json, struct err *e)
{
    if (as_json)
        return json_print(doc, stdout, e);
    json_each(doc, print_member, stdout);
    return RC_OK;
}

enum rc print_count(const char *name, uint64_t count, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    return json_set_int(doc, name, (int64_t)count, e) ? e->code : json_print(doc, stdout, e);
}
