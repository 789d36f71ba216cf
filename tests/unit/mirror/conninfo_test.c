#include "mirror/conninfo.h"

#include "tests/unit/check.h"

static void check_secret(const char *url, const char *password, const char *passfile,
                         const char *expected)
{
    struct err e = ERR_INIT;
    auto_buf struct buf out;
    buf_init(&out, 4096);
    const char *text;
    CHECK_OK(conninfo_secret(url, password, passfile, &out, &e), &e);
    CHECK_OK(buf_cstr(&out, &text, &e), &e);
    CHECK_STR(text, expected);
}

static void check_public(const char *url, const char *expected)
{
    struct err e = ERR_INIT;
    auto_buf struct buf out;
    buf_init(&out, 4096);
    const char *text;
    CHECK_OK(conninfo_public(url, &out, &e), &e);
    CHECK_OK(buf_cstr(&out, &text, &e), &e);
    CHECK_STR(text, expected);
}

TEST("a password is added where the URL has none")
{
    check_secret("postgres://joe@h/db", "pw", NULL, "postgres://joe@h/db?password=pw");
    check_secret("postgres://joe@h/db?sslmode=require", "pw", NULL,
                 "postgres://joe@h/db?sslmode=require&password=pw");
    check_secret("postgres://joe@h/db", NULL, NULL, "postgres://joe@h/db");
    check_secret("postgres://joe@h/db", "", "", "postgres://joe@h/db");
}

TEST("a password of any characters is escaped")
{
    check_secret("postgres://joe@h/db", "a b&c=d%e'f", NULL,
                 "postgres://joe@h/db?password=a%20b%26c%3Dd%25e%27f");
    check_secret("postgres://joe@h/db", "\xc3\xa4", NULL, "postgres://joe@h/db?password=%C3%A4");
}

TEST("the URL's own password stays, and a passfile goes before a password")
{
    check_secret("postgres://joe:own@h/db", "pw", NULL, "postgres://joe:own@h/db");
    check_secret("postgres://joe@h/db?password=own", "pw", NULL,
                 "postgres://joe@h/db?password=own");
    check_secret("postgres://joe@h/db", "pw", "/etc/pass file",
                 "postgres://joe@h/db?passfile=/etc/pass%20file");
}

TEST("the public form has no password, wherever it stood")
{
    check_public("postgres://joe:secret@h:5432/db", "postgres://joe@h:5432/db");
    check_public("postgres://joe@h/db", "postgres://joe@h/db");
    check_public("postgres://joe@h/db?password=secret", "postgres://joe@h/db");
    check_public("postgres://joe@h/db?password=secret&sslmode=require",
                 "postgres://joe@h/db?sslmode=require");
    check_public("postgres://joe@h/db?sslmode=require&password=secret&a=b",
                 "postgres://joe@h/db?sslmode=require&a=b");
    check_public("postgres://joe:one@h/db?password=two", "postgres://joe@h/db");
}

TEST("what is no URL of PostgreSQL is refused")
{
    struct err e = ERR_INIT;
    auto_buf struct buf out;
    buf_init(&out, 4096);
    CHECK_RC(conninfo_secret("host=h password=secret", NULL, NULL, &out, &e), RC_INVALID);
    CHECK(!strstr(e.text, "secret"));
}
