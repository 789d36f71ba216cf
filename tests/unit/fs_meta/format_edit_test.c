#include "fs/meta/format_edit.h"

#include <string.h>

#include "tests/unit/check.h"

enum edit { STRING, INT, BOOL, REMOVE };

/* Edit before; the result must be after, to the byte. */
static void check_edit(enum edit edit, const char *before, const char *name, const char *text,
                       int64_t number, const char *after)
{
    struct err e = ERR_INIT;
    auto_buf struct buf row;
    const char *is;
    buf_init(&row, 1 << 16);
    CHECK_OK(buf_add_str(&row, before, &e), &e);
    enum rc rc = edit == STRING ? format_edit_string(&row, name, text, &e)
                 : edit == INT  ? format_edit_int(&row, name, number, &e)
                 : edit == BOOL ? format_edit_bool(&row, name, number != 0, &e)
                                : format_edit_remove(&row, name, &e);
    CHECK_OK(rc, &e);
    CHECK_OK(buf_cstr(&row, &is, &e), &e);
    CHECK_STR(is, after);
}

TEST("a member is changed in its place and all else stays to the byte")
{
    check_edit(
        INT, "{\n\"Name\": \"v\",\n\"Xyz\": 1.50e3,\n\"TrashDays\": 1,\n\"U\": {\"a\": [1, {}]}\n}",
        "TrashDays", NULL, 7,
        "{\n\"Name\": \"v\",\n\"Xyz\": 1.50e3,\n\"TrashDays\": 7,\n\"U\": {\"a\": [1, {}]}\n}");
    check_edit(STRING, "{\"Bucket\":\"/a/\",\"Z\":9223372036854775807}", "Bucket", "/new \"b\"/", 0,
               "{\"Bucket\":\"/new \\\"b\\\"/\",\"Z\":9223372036854775807}");
    check_edit(BOOL, "{\"DirStats\" : false }", "DirStats", NULL, 1, "{\"DirStats\" : true }");
}

TEST("a name inside a value or inside another member is no member")
{
    check_edit(INT, "{\"A\":\"\\\"Inodes\\\": 1,\",\"B\":{\"Inodes\":2},\"Inodes\":3}", "Inodes",
               NULL, 9, "{\"A\":\"\\\"Inodes\\\": 1,\",\"B\":{\"Inodes\":2},\"Inodes\":9}");
}

TEST("a new member stands where a stock client writes it")
{
    check_edit(INT, "{\n\"Name\": \"v\",\n\"HashPrefix\": true,\n\"TrashDays\": 1\n}", "Capacity",
               NULL, 5,
               "{\n\"Name\": \"v\",\n\"HashPrefix\": true,\n\"Capacity\": 5,\n\"TrashDays\": 1\n}");
    check_edit(BOOL, "{\n\"Name\": \"v\"\n}", "ChangeLog", NULL, 1,
               "{\n\"Name\": \"v\",\n\"ChangeLog\": true\n}");
    check_edit(STRING, "{}", "Name", "v", 0, "{\n\"Name\": \"v\"}");
    check_edit(STRING, "{\n\"UUID\": \"u\"\n}", "Name", "v", 0,
               "{\n\"Name\": \"v\",\n\"UUID\": \"u\"\n}");
}

TEST("a member is taken out wherever it stands")
{
    check_edit(REMOVE, "{\n\"A\": 1,\n\"B\": 2,\n\"C\": 3\n}", "A", NULL, 0,
               "{\n\"B\": 2,\n\"C\": 3\n}");
    check_edit(REMOVE, "{\n\"A\": 1,\n\"B\": 2,\n\"C\": 3\n}", "B", NULL, 0,
               "{\n\"A\": 1,\n\"C\": 3\n}");
    check_edit(REMOVE, "{\n\"A\": 1,\n\"B\": 2,\n\"C\": 3\n}", "C", NULL, 0,
               "{\n\"A\": 1,\n\"B\": 2\n}");
    check_edit(REMOVE, "{\n\"A\": 1\n}", "A", NULL, 0, "{\n\n}");
    check_edit(REMOVE, "{\n\"A\": 1\n}", "B", NULL, 0, "{\n\"A\": 1\n}");
}

TEST("what is no JSON object is left alone")
{
    static const char *const rows[] = {"", "[1]", "{\"A\": 1", "{\"A\" 1}", "7"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = ERR_INIT;
        auto_buf struct buf row;
        const char *is;
        buf_init(&row, 1 << 16);
        CHECK_OK(buf_add_str(&row, rows[i], &e), &e);
        CHECK_EQ(format_edit_int(&row, "A", 2, &e), RC_INVALID);
        CHECK_EQ(format_edit_remove(&row, "A", &e), RC_INVALID);
        CHECK_OK(buf_cstr(&row, &is, &e), &e);
        CHECK_STR(is, rows[i]);
    }
}
