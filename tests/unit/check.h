/*
 * check - a small test runner. A test is a sentence and a block:
 *
 *     TEST("a buffer never grows past its maximum")
 *     {
 *         CHECK_RC(buf_add(&b, data, 11, &e), RC_NO_SPACE);
 *     }
 *
 * A check that fails prints what was compared and ends its test (without releasing what it held);
 * the others go on. Each program prints "N passed, N failed" and exits with 1 if any failed or
 * none ran. With an argument it runs the tests whose sentence contains it.
 *
 * Threads   checks are made in the main thread; elsewhere a failed one aborts
 */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/attr.h"
#include "fs/base/err.h"

struct check_test {
    const char *sentence;
    void (*body)(void);
    const char *file;
    int line;
    struct check_test *next;
};

void check_register(struct check_test *test);

#define CHECK_JOIN_(a, b) a##b
#define CHECK_JOIN(a, b)  CHECK_JOIN_(a, b)

#define TEST(words) CHECK_TEST(words, CHECK_JOIN(test_, __LINE__))
#define CHECK_TEST(words, name)                                                                    \
    static void name(void);                                                                        \
    static struct check_test CHECK_JOIN(name, _entry) = {                                          \
        .sentence = (words), .body = (name), .file = __FILE__, .line = __LINE__};                  \
    __attribute__((constructor)) static void CHECK_JOIN(name, _register)(void)                     \
    {                                                                                              \
        check_register(&CHECK_JOIN(name, _entry));                                                 \
    }                                                                                              \
    static void name(void)

/* Where a check stands and how it reads. */
struct check_place {
    const char *file;
    int line;
    const char *text;
};

#define CHECK_HERE(text) ((struct check_place){__FILE__, __LINE__, (text)})

NORETURN void check_fail(struct check_place place, const char *fmt, ...) PRINTF(2, 3);
void check_eq(struct check_place place, int64_t actual, int64_t expected);
void check_str(struct check_place place, const char *actual, const char *expected);
void check_contains(struct check_place place, const char *text, const char *part);
void check_bytes(struct check_place place, const void *actual, size_t actual_size,
                 const void *expected, size_t expected_size);
void check_rc(struct check_place place, enum rc actual, enum rc expected);
void check_ok(struct check_place place, enum rc actual, const struct err *e);

#define CHECK(claim)                                                                               \
    do {                                                                                           \
        if (!(claim))                                                                              \
            check_fail(CHECK_HERE(#claim), "is false");                                            \
    } while (0)

/* Integers, compared as 64-bit numbers. */
#define CHECK_EQ(actual, expected)                                                                 \
    check_eq(CHECK_HERE(#actual " == " #expected), (int64_t)(actual), (int64_t)(expected))
#define CHECK_STR(actual, expected) check_str(CHECK_HERE(#actual), (actual), (expected))
/* Does text hold part somewhere? */
#define CHECK_CONTAINS(text, part) check_contains(CHECK_HERE(#text), (text), (part))
#define CHECK_BYTES(actual, actual_size, expected, expected_size)                                  \
    check_bytes(CHECK_HERE(#actual), (actual), (actual_size), (expected), (expected_size))
/* The outcome of a call is this code. */
#define CHECK_RC(call, code) check_rc(CHECK_HERE(#call), (call), (code))
/* The call succeeded; if not, show the text of *e. */
#define CHECK_OK(call, e) check_ok(CHECK_HERE(#call), (call), (e))

/* A file under tests/data, whole, with a NUL behind it. The caller frees it. */
char *check_read_data(const char *name, size_t *size);

/* Run a fuzz target over tests/fuzz/corpus/NAME/: there must be something. */
void check_corpus(const char *name, int (*target)(const uint8_t *data, size_t size));

/* A new empty directory under $TMPDIR; removed with what is in it when the program ends. */
const char *check_directory(void);

#endif
