#include "fs/base/json_stream.h"

#include <string.h>

#include "tests/unit/check.h"

/* A document that comes in small pieces, so that every border is met. */
struct trickle {
    const char *text;
    size_t at, size, piece;
};

static enum rc give(void *arg, uint8_t *into, size_t room, size_t *got, struct err *e)
{
    struct trickle *t = arg;
    (void)e;
    *got = t->size - t->at < t->piece ? t->size - t->at : t->piece;
    *got = *got < room ? *got : room;
    memcpy(into, t->text + t->at, *got);
    t->at += *got;
    return RC_OK;
}

static enum rc read_values(struct json_stream *s, struct buf *seen, struct err *e)
{
    bool is_first = true, more;
    auto_buf struct buf piece;
    buf_init(&piece, 1 << 16);
    if (json_stream_enter(s, '{', e))
        return e->code;
    for (;;) {
        if (json_stream_more(s, '}', &is_first, &more, e))
            return e->code;
        if (!more)
            return json_stream_end(s, e);
        if (json_stream_name(s, &piece, e) || buf_add(seen, piece.data, piece.size, e) ||
            buf_add_str(seen, "=", e) || json_stream_value(s, &piece, e) ||
            buf_add(seen, piece.data, piece.size, e) || buf_add_str(seen, ";", e))
            return e->code;
    }
}

static enum rc read_document(const char *text, size_t piece, struct buf *seen, struct err *e)
{
    struct trickle t = {text, 0, strlen(text), piece};
    struct json_stream *s = NULL;
    CHECK_OK(json_stream_open(&s, give, &t, e), e);
    enum rc rc = read_values(s, seen, e);
    json_stream_close(&s);
    CHECK(s == NULL);
    return rc;
}

TEST("members come whole, wherever the document is cut")
{
    static const char text[] =
        " {\"a\" : 1,\"b\\u0041\\\"\":\"x\\\\\\\"},{\" , \"c\":[1, {\"d\":\"]\"}],\"\":null, "
        "\"e\":{}}\n ";
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct err e = ERR_INIT;
        auto_buf struct buf seen;
        const char *is;
        buf_init(&seen, 1 << 16);
        CHECK_OK(read_document(text, piece, &seen, &e), &e);
        CHECK_OK(buf_cstr(&seen, &is, &e), &e);
        CHECK_STR(is, "a=1;bA\"=\"x\\\\\\\"},{\";c=[1, {\"d\":\"]\"}];=null;e={};");
    }
}

TEST("a document that is cut short or malformed is refused")
{
    static const char *const texts[] = {
        "",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":}",
        "{\"a\":[",
        "{\"a\":\"x",
        "{a:1}",
        "{\"a\":1,}",
        "{\"a\":1}}",
        "{\"a\" 1}",
        "[]",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\\x\":1}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct err e = ERR_INIT;
        auto_buf struct buf seen;
        buf_init(&seen, 1 << 16);
        CHECK_EQ(read_document(texts[i], 3, &seen, &e), RC_INVALID);
    }
}

TEST("a value larger than its buffer may be is refused, not cut")
{
    struct trickle t = {"\"0123456789\"", 0, 12, 5};
    struct json_stream *s = NULL;
    struct err e = ERR_INIT;
    auto_buf struct buf small;
    buf_init(&small, 8);
    CHECK_OK(json_stream_open(&s, give, &t, &e), &e);
    CHECK_EQ(json_stream_value(s, &small, &e), RC_NO_SPACE);
    json_stream_close(&s);
}
