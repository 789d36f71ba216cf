/*
 * meta_load - one measured run of one kind of metadata operation.
 *
 *   meta_load WORK DIR THREADS COUNT
 *
 * Thread n works COUNT times in a directory of its own, DIR/t<n>, which is made before the clock
 * starts. The operations are plain system calls, so that what is measured is the file system. One
 * line of JSON on standard output: operations, seconds from the first start to the last end, and
 * the latency of single operations in microseconds. The first failure ends the program with 1.
 *
 *   create   open(O_CREAT|O_EXCL) and close of c<i>    write    the same of w<i>, with 4 KiB in it
 *   stat     lstat of c<i>                             read     open, read 4 KiB, close of w<i>
 *   setattr  chmod of c<i>                             link     l<i> to w<i>
 *   rename   c<i> to r<i>                              unlink   r<i>
 *   mkdir    a tree of COUNT directories, 4 wide       fill     4 empty files into each of them
 *   list     readdir and lstat of every entry of DIR/t<n>, COUNT times over; an entry is one
 *            operation, the latency is that of one whole listing
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 256
#define FILE_BYTES  4096
#define TREE_WIDTH  4
#define PATH_BYTES  512

struct worker {
    const struct work *work;
    unsigned number;
    uint64_t count;
    uint64_t *latencies_ns; /* of each call of step(), count of them */
    uint64_t begun_ns, ended_ns;
    uint64_t operations;
    int dir; /* DIR/t<number> */
    pthread_t thread;
};

/* step() carries out the i-th operation; it returns how many operations that was. */
struct work {
    const char *name;
    uint64_t (*step)(struct worker *w, uint64_t i);
};

static pthread_barrier_t start_line;

__attribute__((format(printf, 1, 2))) static _Noreturn void die(const char *format, ...)
{
    int number = errno;
    char text[PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    errno = number;
    fprintf(stderr, "meta_load: %s: %m\n", text);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

struct name {
    char text[32];
};

static struct name name_of(char kind, uint64_t i)
{
    struct name made;
    snprintf(made.text, sizeof(made.text), "%c%llu", kind, (unsigned long long)i);
    return made;
}

static int open_or_die(const struct worker *w, struct name name, int flags)
{
    int file = openat(w->dir, name.text, flags | O_CLOEXEC, 0644);
    if (file == -1)
        die("open %s of thread %u", name.text, w->number);
    return file;
}

static void close_or_die(int file)
{
    if (close(file) == -1)
        die("close");
}

static uint64_t do_create(struct worker *w, uint64_t i)
{
    close_or_die(open_or_die(w, name_of('c', i), O_CREAT | O_EXCL | O_WRONLY));
    return 1;
}

static uint64_t do_write(struct worker *w, uint64_t i)
{
    char bytes[FILE_BYTES];
    memset(bytes, (int)('a' + i % 26), sizeof(bytes));
    int file = open_or_die(w, name_of('w', i), O_CREAT | O_EXCL | O_WRONLY);
    if (write(file, bytes, sizeof(bytes)) != FILE_BYTES)
        die("write of w%llu", (unsigned long long)i);
    close_or_die(file);
    return 1;
}

static uint64_t do_stat(struct worker *w, uint64_t i)
{
    struct stat st;
    if (fstatat(w->dir, name_of('c', i).text, &st, AT_SYMLINK_NOFOLLOW) == -1)
        die("stat of c%llu", (unsigned long long)i);
    return 1;
}

static uint64_t do_read(struct worker *w, uint64_t i)
{
    char bytes[FILE_BYTES];
    int file = open_or_die(w, name_of('w', i), O_RDONLY);
    /* What was read is checked: a fast wrong answer is no result. */
    if (read(file, bytes, sizeof(bytes)) != FILE_BYTES || bytes[0] != (char)('a' + i % 26))
        die("read of w%llu", (unsigned long long)i);
    close_or_die(file);
    return 1;
}

static uint64_t do_rename(struct worker *w, uint64_t i)
{
    if (renameat(w->dir, name_of('c', i).text, w->dir, name_of('r', i).text) == -1)
        die("rename of c%llu", (unsigned long long)i);
    return 1;
}

static uint64_t do_setattr(struct worker *w, uint64_t i)
{
    if (fchmodat(w->dir, name_of('c', i).text, 0600, 0) == -1)
        die("chmod of c%llu", (unsigned long long)i);
    return 1;
}

static uint64_t do_link(struct worker *w, uint64_t i)
{
    if (linkat(w->dir, name_of('w', i).text, w->dir, name_of('l', i).text, 0) == -1)
        die("link to w%llu", (unsigned long long)i);
    return 1;
}

static uint64_t do_unlink(struct worker *w, uint64_t i)
{
    if (unlinkat(w->dir, name_of('r', i).text, 0) == -1)
        die("unlink of r%llu", (unsigned long long)i);
    return 1;
}

/* The path of the i-th directory of the tree: the parent of i is (i - 1) / TREE_WIDTH. */
static void tree_path(uint64_t i, char into[PATH_BYTES])
{
    char shorter[PATH_BYTES] = "";
    if (i > 0)
        tree_path((i - 1) / TREE_WIDTH, shorter);
    int size =
        snprintf(into, PATH_BYTES, "%s%sd%llu", shorter, i > 0 ? "/" : "", (unsigned long long)i);
    if (size >= PATH_BYTES)
        die("the tree is too deep");
}

static uint64_t do_mkdir(struct worker *w, uint64_t i)
{
    char path[PATH_BYTES];
    tree_path(i, path);
    if (mkdirat(w->dir, path, 0755) == -1)
        die("mkdir of %s", path);
    return 1;
}

static uint64_t do_fill(struct worker *w, uint64_t i)
{
    char path[PATH_BYTES];
    tree_path(i, path);
    int dir = openat(w->dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir == -1)
        die("open %s", path);
    for (uint64_t file = 0; file < TREE_WIDTH; file++) {
        int made = openat(dir, name_of('f', file).text, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        if (made == -1)
            die("create in %s", path);
        close_or_die(made);
    }
    close_or_die(dir);
    return TREE_WIDTH;
}

static uint64_t do_list(struct worker *w, uint64_t i)
{
    (void)i;
    int again = openat(w->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again == -1 ? NULL : fdopendir(again);
    if (!dir)
        die("opendir of thread %u", w->number);
    uint64_t seen = 0;
    struct stat st;
    for (const struct dirent *entry; (entry = readdir(dir)); seen++)
        if (fstatat(again, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
            die("stat of %s", entry->d_name);
    closedir(dir);
    return seen;
}

static const struct work works[] = {
    {"create", do_create}, {"write", do_write},   {"stat", do_stat},       {"read", do_read},
    {"rename", do_rename}, {"unlink", do_unlink}, {"setattr", do_setattr}, {"link", do_link},
    {"mkdir", do_mkdir},   {"fill", do_fill},     {"list", do_list},
};

static const struct work *find_work(const char *name)
{
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
        if (!strcmp(works[i].name, name))
            return &works[i];
    return NULL;
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(&start_line);
    w->begun_ns = now_ns();
    uint64_t last = w->begun_ns;
    for (uint64_t i = 0; i < w->count; i++) {
        w->operations += w->work->step(w, i);
        uint64_t now = now_ns();
        w->latencies_ns[i] = now - last;
        last = now;
    }
    w->ended_ns = last;
    return NULL;
}

static int open_place(const char *top, unsigned number)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/t%u", top, number);
    if (mkdir(path, 0755) == -1 && errno != EEXIST)
        die("mkdir %s", path);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir == -1)
        die("open %s", path);
    return dir;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double at_us(const uint64_t *latencies_ns, size_t at)
{
    return (double)latencies_ns[at] / 1e3;
}

static void report(const struct worker *workers, unsigned threads, uint64_t *latencies,
                   uint64_t latency_count)
{
    uint64_t begun = UINT64_MAX, ended = 0, operations = 0;
    for (unsigned n = 0; n < threads; n++) {
        begun = workers[n].begun_ns < begun ? workers[n].begun_ns : begun;
        ended = workers[n].ended_ns > ended ? workers[n].ended_ns : ended;
        operations += workers[n].operations;
    }
    qsort(latencies, latency_count, sizeof(*latencies), by_size);
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f}\n",
           (unsigned long long)operations, (double)(ended - begun) / 1e9,
           at_us(latencies, latency_count / 2), at_us(latencies, latency_count * 99 / 100),
           at_us(latencies, latency_count - 1));
}

static void run_all(const struct work *work, const char *top, unsigned threads, uint64_t count)
{
    static struct worker workers[THREADS_MAX];
    uint64_t *latencies = calloc(threads * count, sizeof(*latencies));
    if (!latencies)
        die("memory for %u times %llu latencies", threads, (unsigned long long)count);
    pthread_barrier_init(&start_line, NULL, threads);
    for (unsigned n = 0; n < threads; n++)
        workers[n] = (struct worker){.work = work,
                                     .number = n,
                                     .count = count,
                                     .latencies_ns = latencies + n * count,
                                     .dir = open_place(top, n)};
    for (unsigned n = 0; n < threads; n++)
        if ((errno = pthread_create(&workers[n].thread, NULL, run_worker, &workers[n])))
            die("thread %u", n);
    for (unsigned n = 0; n < threads; n++)
        pthread_join(workers[n].thread, NULL);
    report(workers, threads, latencies, threads * count);
    free(latencies);
}

int main(int argc, char **argv)
{
    const struct work *work = argc == 5 ? find_work(argv[1]) : NULL;
    unsigned long threads = work ? strtoul(argv[3], NULL, 10) : 0;
    uint64_t count = work ? strtoull(argv[4], NULL, 10) : 0;
    if (threads < 1 || threads > THREADS_MAX || count < 1 || count > UINT32_MAX) {
        fputs("Usage: meta_load WORK DIR THREADS COUNT\n", stderr);
        return 2;
    }
    run_all(work, argv[2], (unsigned)threads, count);
    return 0;
}
