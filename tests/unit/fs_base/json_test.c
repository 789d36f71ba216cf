#include "fs/base/json.h"

#include "tests/unit/check.h"

static struct json *parse(const char *text)
{
    struct err e;
    struct json *value = NULL;
    CHECK_OK(json_parse((struct bytes){(const uint8_t *)text, strlen(text)}, &value, &e), &e);
    return value;
}

static void check_written(const struct json *value, enum json_style style, const char *expected)
{
    struct err e;
    const char *text = NULL;
    auto_buf struct buf out;
    buf_init(&out, 4096);
    CHECK_OK(json_write(value, style, &out, &e), &e);
    CHECK_OK(buf_cstr(&out, &text, &e), &e);
    CHECK_STR(text, expected);
}

TEST("members are found by name and type, else the fallback is given")
{
    auto_json struct json *doc =
        parse("{\"s\":\"text\",\"i\":-9007199254740993,\"b\":true,\"a\":[1,\"two\"],\"r\":1.5}");
    CHECK_STR(json_get_string(doc, "s", "no"), "text");
    CHECK_STR(json_get_string(doc, "i", "no"), "no");
    CHECK(json_get_string(doc, "none", NULL) == NULL);
    CHECK_EQ(json_get_int(doc, "i", 0), -9007199254740993);
    CHECK_EQ(json_get_int(doc, "r", 7), 7);
    CHECK(json_get_bool(doc, "b", false));
    CHECK(json_get_bool(doc, "s", true));
    const struct json *array = json_get(doc, "a");
    CHECK_EQ(json_length(array), 2);
    CHECK_STR(json_as_string(json_at(array, 1)), "two");
    CHECK(json_at(array, 2) == NULL);
    CHECK_EQ(json_length(NULL), 0);
    CHECK(json_get(array, "x") == NULL);
}

TEST("a document is written compact, indented, or a member a line")
{
    auto_json struct json *doc = parse("{\"a\":{\"b\":[1,2],\"c\":\"x\\n y\"},\"e\":{}}");
    check_written(doc, JSON_COMPACT, "{\"a\":{\"b\":[1,2],\"c\":\"x\\n y\"},\"e\":{}}");
    check_written(doc, JSON_INDENT,
                  "{\n  \"a\": {\n    \"b\": [\n      1,\n      2\n    ],\n    \"c\": \"x\\n y\"\n"
                  "  },\n  \"e\": {}\n}");
    check_written(doc, JSON_LINES,
                  "{\n\"a\": {\n\"b\": [\n1,\n2\n],\n\"c\": \"x\\n y\"\n},\n\"e\": {}\n}");
}

TEST("a document that does not fit leaves the buffer as it was")
{
    struct err e;
    auto_json struct json *doc = parse("[1,2,3,4,5,6,7,8]");
    auto_buf struct buf out;
    buf_init(&out, 10);
    CHECK_OK(buf_add_str(&out, "x", &e), &e);
    CHECK_RC(json_write(doc, JSON_COMPACT, &out, &e), RC_NO_SPACE);
    CHECK_EQ(out.size, 1);
}

TEST("values are set in order, and children move into their parent")
{
    struct err e;
    auto_json struct json *doc = json_object_new();
    struct json *list = json_array_new();
    struct json *child = json_object_new();
    CHECK_OK(json_set_string(doc, "z", "last\"", &e), &e);
    CHECK_OK(json_set_int(doc, "i", INT64_MIN, &e), &e);
    CHECK_OK(json_set_bool(doc, "b", false, &e), &e);
    CHECK_OK(json_append(list, &child, &e), &e);
    CHECK_OK(json_set(doc, "l", &list, &e), &e);
    CHECK(child == NULL && list == NULL);
    check_written(doc, JSON_COMPACT,
                  "{\"z\":\"last\\\"\",\"i\":-9223372036854775808,\"b\":false,"
                  "\"l\":[{}]}");
}

TEST("bytes that are no UTF-8 become replacement characters")
{
    struct err e;
    auto_json struct json *doc = json_object_new();
    CHECK_OK(json_set_bytes(doc, "n", BYTES_OF("a\xFF\xC3\xA9\xC3"), &e), &e);
    check_written(doc, JSON_COMPACT, "{\"n\":\"a\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\"}");
}

TEST("malformed, deep and oversized documents are refused with a place")
{
    struct err e;
    struct json *doc = NULL;
    char deep[200];
    memset(deep, '[', sizeof(deep));
    CHECK_RC(json_parse(BYTES_OF("{\"a\":\n tru}"), &doc, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "line 2 column");
    CHECK_RC(json_parse(BYTES_OF(""), &doc, &e), RC_INVALID);
    CHECK_RC(json_parse(BYTES_OF("{} x"), &doc, &e), RC_INVALID);
    CHECK_RC(json_parse(BYTES_OF("\"\xFF\""), &doc, &e), RC_INVALID);
    CHECK_RC(json_parse((struct bytes){(uint8_t *)deep, sizeof(deep)}, &doc, &e), RC_INVALID);
    CHECK_CONTAINS(e.text, "nested deeper");
    CHECK_RC(json_parse((struct bytes){(uint8_t *)deep, (16U << 20) + 1}, &doc, &e), RC_INVALID);
    CHECK(doc == NULL);
}

TEST("brackets inside of strings are not nesting, behind an escaped quote neither")
{
    char text[100] = "[\"\\\"";
    memset(text + 4, '[', 80);
    memcpy(text + 84, "\"]", 3);
    auto_json struct json *doc = parse(text);
    CHECK_EQ(json_length(doc), 1);
}
