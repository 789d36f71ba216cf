#include "tests/unit/check.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    struct check_test *first;
    struct check_test **last;
    const struct check_test *current;
    pthread_t main_thread;
    jmp_buf end_of_test;
    unsigned passed;
    unsigned failed;
    char directory[256];
} runner = {.last = &runner.first};

void check_register(struct check_test *test)
{
    *runner.last = test;
    runner.last = &test->next;
}

void check_fail(struct check_place place, const char *fmt, ...)
{
    va_list args;
    (void)printf("FAILED  %s\n        %s:%d: %s ", runner.current->sentence, place.file, place.line,
                 place.text);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)printf("\n");
    (void)fflush(stdout);
    if (!pthread_equal(pthread_self(), runner.main_thread))
        abort();
    longjmp(runner.end_of_test, 1);
}

void check_eq(struct check_place place, int64_t actual, int64_t expected)
{
    if (actual != expected)
        check_fail(place, "is false: %" PRId64 " and %" PRId64, actual, expected);
}

void check_str(struct check_place place, const char *actual, const char *expected)
{
    if (!actual || strcmp(actual, expected) != 0)
        check_fail(place, "is\n          \"%s\" instead of\n          \"%s\"",
                   actual ? actual : "(null)", expected);
}

void check_contains(struct check_place place, const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        check_fail(place, "is\n          \"%s\", without\n          \"%s\"", text ? text : "(null)",
                   part);
}

void check_bytes(struct check_place place, const void *actual, size_t actual_size,
                 const void *expected, size_t expected_size)
{
    const uint8_t *a = actual;
    const uint8_t *b = expected;
    if (actual_size != expected_size)
        check_fail(place, "has %zu bytes instead of %zu", actual_size, expected_size);
    for (size_t i = 0; i < actual_size; i++)
        if (a[i] != b[i])
            check_fail(place, "differs at byte %zu: %02x instead of %02x", i, a[i], b[i]);
}

void check_rc(struct check_place place, enum rc actual, enum rc expected)
{
    if (actual != expected)
        check_fail(place, "is \"%s\" instead of \"%s\"", rc_name(actual), rc_name(expected));
}

void check_ok(struct check_place place, enum rc actual, const struct err *e)
{
    if (actual)
        check_fail(place, "failed as \"%s\": %s", rc_name(actual), e->text);
}

static char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "re");
    struct stat stat;
    if (!file || fstat(fileno(file), &stat) == -1)
        check_fail(CHECK_HERE(path), "cannot be opened: errno %d", errno);
    char *data = malloc((size_t)stat.st_size + 1);
    if (!data || fread(data, 1, (size_t)stat.st_size, file) != (size_t)stat.st_size)
        check_fail(CHECK_HERE(path), "cannot be read: errno %d", errno);
    (void)fclose(file);
    data[stat.st_size] = 0;
    *size = (size_t)stat.st_size;
    return data;
}

char *check_read_data(const char *name, size_t *size)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/data/%s", TARN_TESTS_DIR, name);
    return read_whole(path, size);
}

void check_corpus(const char *name, int (*target)(const uint8_t *data, size_t size))
{
    char folder[512];
    unsigned count = 0;
    (void)snprintf(folder, sizeof(folder), "%s/fuzz/corpus/%s", TARN_TESTS_DIR, name);
    DIR *directory = opendir(folder);
    if (!directory)
        check_fail(CHECK_HERE(name), "has no corpus at %s", folder);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char path[1024];
        size_t size;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        char *data = read_whole(path, &size);
        /* As large as the input and no larger, so that a sanitizer sees a read past its end. */
        uint8_t *exact = malloc(size ? size : 1);
        if (exact)
            memcpy(exact, data, size);
        free(data);
        (void)target(exact, size);
        free(exact);
        count++;
    }
    (void)closedir(directory);
    if (count == 0)
        check_fail(CHECK_HERE(name), "has an empty corpus");
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_directory(void)
{
    (void)nftw(runner.directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *check_directory(void)
{
    static unsigned count;
    static char path[300];
    const char *parent = getenv("TMPDIR");
    if (!runner.directory[0]) {
        (void)snprintf(runner.directory, sizeof(runner.directory), "%s/tarn-unit-XXXXXX",
                       parent ? parent : "/tmp");
        if (!mkdtemp(runner.directory))
            check_fail(CHECK_HERE(runner.directory), "cannot be made: errno %d", errno);
        (void)atexit(remove_directory);
    }
    (void)snprintf(path, sizeof(path), "%s/%u", runner.directory, count++);
    if (mkdir(path, 0700) == -1)
        check_fail(CHECK_HERE(path), "cannot be made: errno %d", errno);
    return path;
}

static void run(const struct check_test *test)
{
    runner.current = test;
    if (setjmp(runner.end_of_test) == 0) {
        test->body();
        runner.passed++;
    } else {
        runner.failed++;
    }
}

int main(int argc, char **argv)
{
    runner.main_thread = pthread_self();
    for (const struct check_test *test = runner.first; test; test = test->next)
        if (argc < 2 || strstr(test->sentence, argv[1]))
            run(test);
    (void)printf("%u passed, %u failed\n", runner.passed, runner.failed);
    return runner.failed > 0 || runner.passed == 0;
}
