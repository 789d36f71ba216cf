#include <stdlib.h>

#include "fs/base/url.h"

#include "tests/unit/check.h"

static void check_redacted(const char *url, const char *expected)
{
    auto_free char *text = url_redact(url);
    CHECK_STR(text, expected);
}

TEST("a password is replaced wherever libpq would read it")
{
    check_redacted("postgres://joe:secret@host:5432/db", "postgres://joe:****@host:5432/db");
    check_redacted("postgresql://joe:s%40crt@h/db?a=b", "postgresql://joe:****@h/db?a=b");
    check_redacted("postgres://joe@h/db?password=secret&x=1",
                   "postgres://joe@h/db?password=****&x=1");
    check_redacted("postgres://h/db?pass%77ord=secret", "postgres://h/db?pass%77ord=****");
    check_redacted("postgres://h/db?sslpassword=secret", "postgres://h/db?sslpassword=****");
}

TEST("an unescaped password is hidden whole, though the URL is malformed")
{
    check_redacted("postgres://joe:a/b@c?d@host/db", "postgres://joe:****@host/db");
    check_redacted("host=h password=secret", "****");
    check_redacted("mysql://joe:secret@h/db", "****");
}

TEST("a URL without password is shown as it is")
{
    check_redacted("postgres://joe@host:5432/db", "postgres://joe@host:5432/db");
    check_redacted("postgres://[::1]:5432/db?sslmode=disable",
                   "postgres://[::1]:5432/db?sslmode=disable");
    check_redacted("postgres:///db?host=/run/x", "postgres:///db?host=/run/x");
}

TEST("the forms of URL that libpq takes are accepted")
{
    static const char *const good[] = {
        "postgres://host/db",
        "postgresql://joe:pw@host:5432/db?sslmode=verify-full&connect_timeout=5",
        "postgres://joe@[2001:db8::1]:5433/db",
        "postgres://joe@a:1,b:2/db",
        "postgres:///db?host=/var/run/postgresql",
        "postgres://joe:p%2Fw@host/my%20db",
    };
    struct err e;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        CHECK_OK(url_check(good[i], &e), &e);
}

TEST("a malformed URL is refused, and the reason never shows the password")
{
    static const char *const bad[] = {
        "mysql://joe:SECRET@h/db",
        "postgres://joe:SECRET@host",
        "postgres://joe:SECRET@host/",
        "postgres://joe:SECRET@host:port/db",
        "postgres://joe:SECRET@host:0/db",
        "postgres://joe:SECRET@host:65536/db",
        "postgres://joe:SECRET@host/db/more",
        "postgres://joe:SECRET/x@host/db",
        "postgres://joe:SEC@RET@host/db",
        "postgres://joe:SECRET@ho st/db",
        "postgres://joe:SECRET@host/db?novalue",
        "postgres://joe:SECRET@host/db?=x",
        "postgres://joe:SECRET%zz@host/db",
        "postgres://joe:SECRET%00@host/db",
        "postgres://joe:SECRET@[::1/db",
        "postgres://joe:SECRET@[::1]x/db",
        "",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e;
        CHECK_RC(url_check(bad[i], &e), RC_INVALID);
        CHECK(!strstr(e.text, "SEC"));
        CHECK(strstr(e.text, "metadata URL"));
    }
}

static void check_hidden(const char *given, const char *shown)
{
    char memory[128];
    (void)snprintf(memory, sizeof(memory), "%s", given);
    char *argument = memory;
    url_hide(&argument);
    CHECK_STR(argument, given);
    CHECK_STR(memory, shown);
    if (argument != memory)
        free(argument);
}

TEST("an argument stops showing its password and goes on meaning the same")
{
    check_hidden("postgres://joe:SECRET@h/db", "postgres://joe:****@h/db");
    check_hidden("--primary=postgres://joe:SECRET@h/db", "--primary=postgres://joe:****@h/db");
    check_hidden("postgres://joe:x@h/db", "postgres://joe:****@h");
    check_hidden("postgres://joe@h/db", "postgres://joe@h/db");
    check_hidden("/mnt/postgres", "/mnt/postgres");
    check_hidden("", "");
}

static void check_database(const char *url, const char *database, const char *expected)
{
    struct err e = ERR_INIT;
    auto_buf struct buf out;
    buf_init(&out, 4096);
    const char *text;
    CHECK_OK(url_with_database(url, database, &out, &e), &e);
    CHECK_OK(buf_cstr(&out, &text, &e), &e);
    CHECK_STR(text, expected);
}

TEST("the URL of another database keeps everything else")
{
    check_database("postgres://u:p@h:5432/db?sslmode=require", "other",
                   "postgres://u:p@h:5432/other?sslmode=require");
    check_database("postgresql://h/db", "a b/c", "postgresql://h/a%20b%2Fc");
}
