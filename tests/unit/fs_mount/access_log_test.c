#include "fs/mount/access_log.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/check.h"

static struct access_log *opened(void)
{
    struct access_log *log = NULL;
    struct err e = ERR_INIT;
    CHECK_RC(access_log_open(&log, &e), RC_OK);
    return log;
}

static struct log_reader *reader_of(struct access_log *log)
{
    struct log_reader *reader = NULL;
    struct err e = ERR_INIT;
    CHECK_RC(access_log_reader(log, &reader, &e), RC_OK);
    return reader;
}

TEST("a reader gets what came since it began, in pieces of any size")
{
    struct access_log *log = opened();
    uint8_t out[16];
    CHECK(!access_log_is_read(log));
    access_log_add(log, BYTES_OF("before\n"));
    struct log_reader *reader = reader_of(log);
    CHECK(access_log_is_read(log));
    access_log_add(log, BYTES_OF("one\n"));
    access_log_add(log, BYTES_OF("two\n"));
    CHECK(access_log_read(log, reader, out, 3) == 3 && memcmp(out, "one", 3) == 0);
    CHECK(access_log_read(log, reader, out, 16) == 5 && memcmp(out, "\ntwo\n", 5) == 0);
    access_log_reader_close(log, &reader);
    CHECK(!access_log_is_read(log) && !reader);
    access_log_close(&log);
}

TEST("lines that a slow reader has no room for are lost to it, whole")
{
    static uint8_t line[1000], out[2 << 20];
    struct access_log *log = opened();
    struct log_reader *reader = reader_of(log);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 5000; i++)
        access_log_add(log, (struct bytes){line, sizeof(line)});
    const size_t got = access_log_read(log, reader, out, sizeof(out));
    CHECK(got > 1000000 && got <= 1 << 20 && got % sizeof(line) == 0);
    access_log_add(log, (struct bytes){line, sizeof(line)});
    CHECK(access_log_read(log, reader, out, sizeof(out)) == sizeof(line));
    access_log_close(&log);
}

TEST("there are only so many readers")
{
    struct access_log *log = opened();
    struct log_reader *one = NULL;
    struct err e = ERR_INIT;
    for (int i = 0; i < 16; i++)
        (void)reader_of(log);
    CHECK_RC(access_log_reader(log, &one, &e), RC_UNAVAILABLE);
    access_log_close(&log);
}

TEST("a line has JuiceFS's form, and no name breaks it")
{
    struct err e = ERR_INIT;
    auto_buf struct buf name, text;
    buf_init(&name, 256);
    buf_init(&text, 1024);
    CHECK_RC(access_log_name(&name, BYTES_OF("a\n\"b\\\xc3\xa4"), &e), RC_OK);
    CHECK(name.size == 16 && memcmp(name.data, "a\\x0a\\x22b\\x5c\xc3\xa4", 16) == 0);
    const struct access_line line = {1, 2, 3, 1500, ENOENT, "lookup (1,x)"};
    CHECK_RC(access_log_format(&text, &line, &e), RC_OK);
    const char *whole;
    CHECK_RC(buf_cstr(&text, &whole, &e), RC_OK);
    CHECK(strcmp(whole + 26, " [uid:1,gid:2,pid:3] lookup (1,x) - no such file or directory"
                             " <0.001500>\n") == 0);
}
