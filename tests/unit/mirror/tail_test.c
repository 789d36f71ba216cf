#include "mirror/tail.h"

#include <string.h>

#include "fs/base/wire.h"
#include "tests/unit/check.h"

/* Messages of pgoutput, put together as PostgreSQL documents them. */

static void put(struct buf *b, const void *data, size_t size)
{
    struct err e = ERR_INIT;
    CHECK_OK(buf_add(b, data, size, &e), &e);
}

static void put_number(struct buf *b, uint64_t value, size_t size)
{
    uint8_t wide[8];
    wire_put_u64(wide, value);
    put(b, wide + 8 - size, size);
}

static void put_name(struct buf *b, const char *name)
{
    put(b, name, strlen(name) + 1);
}

static void put_value(struct buf *b, const char *text)
{
    if (!text) {
        put(b, "n", 1);
        return;
    }
    put(b, "t", 1);
    put_number(b, strlen(text), 4);
    put(b, text, strlen(text));
}

static void put_row(struct buf *b, const char *kind, const char *id, const char *name)
{
    put(b, kind, 1);
    put_number(b, 2, 2);
    put_value(b, id);
    put_value(b, name);
}

static struct buf message(const char *type)
{
    struct buf b;
    buf_init(&b, 4096);
    put(&b, type, 1);
    return b;
}

static struct buf relation(uint32_t id, const char *schema, const char *table)
{
    struct buf b = message("R");
    put_number(&b, id, 4);
    put_name(&b, schema);
    put_name(&b, table);
    put(&b, "i", 1);
    put_number(&b, 2, 2);
    put_number(&b, 1, 1);
    put_name(&b, "parent");
    put_number(&b, 20, 4);
    put_number(&b, UINT32_MAX, 4);
    put_number(&b, 0, 1);
    put_name(&b, "name");
    put_number(&b, 25, 4);
    put_number(&b, UINT32_MAX, 4);
    return b;
}

static struct buf beginning(uint64_t lsn)
{
    struct buf b = message("B");
    put_number(&b, lsn, 8);
    put_number(&b, 1000001, 8); /* one second and a microsecond into 2000 */
    put_number(&b, 77, 4);
    return b;
}

static struct buf ending(uint64_t end_lsn)
{
    struct buf b = message("C");
    put_number(&b, 0, 1);
    put_number(&b, end_lsn - 48, 8);
    put_number(&b, end_lsn, 8);
    put_number(&b, 1000001, 8);
    return b;
}

static struct buf insertion(uint32_t id, const char *parent, const char *name)
{
    struct buf b = message("I");
    put_number(&b, id, 4);
    put_row(&b, "N", parent, name);
    return b;
}

struct lines {
    struct json *line[8];
    int count;
};

static enum rc take(struct json **line, void *arg, struct err *e)
{
    struct lines *l = arg;
    (void)e;
    l->line[l->count++] = take_pointer(line);
    return RC_OK;
}

static enum rc feed(struct tail *t, struct buf made, struct lines *l, struct err *e)
{
    auto_buf struct buf b = made;
    return tail_feed(t, buf_bytes(&b), take, l, e);
}

static void lines_deinit(struct lines *l)
{
    for (int i = 0; i < l->count; i++)
        json_free(&l->line[i]);
}

static struct tail *open_after(uint64_t applied_lsn)
{
    struct err e = ERR_INIT;
    struct tail *t = NULL;
    CHECK_OK(tail_open(&t, applied_lsn, &e), &e);
    return t;
}

TEST("an inserted row is one line with its commit, its table and its values")
{
    struct err e = ERR_INIT;
    struct lines l = {.count = 0};
    struct tail *t = open_after(0);
    CHECK_OK(feed(t, beginning(0x1A2B3C4D0), &l, &e), &e);
    CHECK_OK(feed(t, relation(5, "public", "jfs_edge"), &l, &e), &e);
    CHECK_OK(feed(t, insertion(5, "1", "\\x61"), &l, &e), &e);
    CHECK_OK(feed(t, ending(0x1A2B3C600), &l, &e), &e);
    CHECK_EQ(l.count, 1);
    CHECK_STR(json_get_string(l.line[0], "commit", ""), "1/A2B3C4D0");
    CHECK_STR(json_get_string(l.line[0], "at", ""), "2000-01-01T00:00:01.000001Z");
    CHECK_STR(json_get_string(l.line[0], "table", ""), "public.jfs_edge");
    CHECK_STR(json_get_string(l.line[0], "op", ""), "insert");
    CHECK_EQ(json_get_int(l.line[0], "xid", 0), 77);
    CHECK_STR(json_get_string(json_get(l.line[0], "row"), "name", ""), "\\x61");
    CHECK_EQ(tail_sums(t)->commits, 1);
    CHECK_EQ(tail_sums(t)->end_lsn, 0x1A2B3C600);
    lines_deinit(&l);
    tail_close(&t);
}

TEST("a deletion shows the columns of its key, an update what it became")
{
    struct err e = ERR_INIT;
    struct lines l = {.count = 0};
    struct tail *t = open_after(0);
    struct buf deletion = message("D"), update = message("U");
    put_number(&deletion, 5, 4);
    put_row(&deletion, "K", "1", NULL);
    put_number(&update, 5, 4);
    put_row(&update, "K", "1", NULL);
    put_row(&update, "N", "2", "b");
    CHECK_OK(feed(t, beginning(100), &l, &e), &e);
    CHECK_OK(feed(t, relation(5, "public", "jfs_edge"), &l, &e), &e);
    CHECK_OK(feed(t, deletion, &l, &e), &e);
    CHECK_OK(feed(t, update, &l, &e), &e);
    CHECK_EQ(l.count, 2);
    CHECK_STR(json_get_string(json_get(l.line[0], "key"), "parent", ""), "1");
    CHECK(json_get(l.line[0], "row") == NULL);
    CHECK_STR(json_get_string(json_get(l.line[1], "row"), "parent", ""), "2");
    lines_deinit(&l);
    tail_close(&t);
}

TEST("what was applied before is left out, and beats and markers are nobody's operation")
{
    struct err e = ERR_INIT;
    struct lines l = {.count = 0};
    struct tail *t = open_after(1000);
    CHECK_OK(feed(t, beginning(900), &l, &e), &e);
    CHECK_OK(feed(t, relation(5, "public", "jfs_edge"), &l, &e), &e);
    CHECK_OK(feed(t, relation(6, "tarn", "heartbeat"), &l, &e), &e);
    CHECK_OK(feed(t, insertion(5, "1", "old"), &l, &e), &e);
    CHECK_OK(feed(t, ending(1000), &l, &e), &e);
    CHECK_OK(feed(t, beginning(1000), &l, &e), &e);
    CHECK_OK(feed(t, insertion(6, "1", "beat"), &l, &e), &e);
    CHECK_OK(feed(t, ending(1100), &l, &e), &e);
    CHECK_EQ(tail_sums(t)->commits, 0);
    CHECK_OK(feed(t, beginning(1100), &l, &e), &e);
    CHECK_OK(feed(t, insertion(5, "1", "new"), &l, &e), &e);
    CHECK_OK(feed(t, ending(1200), &l, &e), &e);
    CHECK_EQ(l.count, 1);
    CHECK_EQ(tail_sums(t)->commits, 1);
    lines_deinit(&l);
    tail_close(&t);
}

TEST("a message that is cut anywhere is refused, and nothing is read behind its end")
{
    struct err e = ERR_INIT;
    struct lines l = {.count = 0};
    struct tail *t = open_after(0);
    CHECK_OK(feed(t, relation(5, "public", "jfs_edge"), &l, &e), &e);
    auto_buf struct buf whole = insertion(5, "1", "name");
    for (size_t size = 1; size < whole.size; size++) {
        auto_free uint8_t *copy = malloc(size);
        CHECK(copy != NULL);
        memcpy(copy, whole.data, size);
        e = ERR_INIT;
        /* Cut between its parts it is an insertion of no row, which is none. */
        const enum rc rc = tail_feed(t, (struct bytes){copy, size}, take, &l, &e);
        CHECK(rc == RC_CORRUPT || size == 5);
    }
    lines_deinit(&l);
    tail_close(&t);
}

TEST("a change of a table that was not described, and a message of no known type, are refused")
{
    struct err e = ERR_INIT;
    struct lines l = {.count = 0};
    struct tail *t = open_after(0);
    CHECK_RC(feed(t, insertion(9, "1", "x"), &l, &e), RC_CORRUPT);
    CHECK_RC(feed(t, message("?"), &l, &e), RC_CORRUPT);
    CHECK_RC(tail_feed(t, (struct bytes){NULL, 0}, take, &l, &e), RC_CORRUPT);
    tail_close(&t);
}
