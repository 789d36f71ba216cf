/*
 * tarn bench: is a mount about as fast as it should be? Big files, small files, stat.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/base/parallel.h"
#include "fs/base/progress.h"
#include "fs/cli/table.h"
#include "fs/cli/verbs.h"

#define DROP_CACHES "/proc/sys/vm/drop_caches"
#define MIB         (1024.0 * 1024.0)
#define PATH_BYTES  4096

struct bench_command {
    int64_t block_bytes, big_bytes, small_bytes, small_count, threads;
    bool json;
};

static const struct conf_option options[] = {
    {.name = "block-size",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "1M",
     .min = 1,
     .max = (int64_t)1 << 30,
     .offset = offsetof(struct bench_command, block_bytes),
     .help = "bytes of one read or write"},
    {.name = "big-file-size",
     .type = CONF_SIZE,
     .unit = "MiB",
     .default_text = "1G",
     .min = 0,
     .max = (int64_t)1 << 50,
     .offset = offsetof(struct bench_command, big_bytes),
     .help = "size of the big file of each thread; 0: none"},
    {.name = "small-file-size",
     .type = CONF_SIZE,
     .unit = "KiB",
     .default_text = "128K",
     .min = 0,
     .max = (int64_t)1 << 40,
     .offset = offsetof(struct bench_command, small_bytes),
     .help = "size of each small file; 0: none"},
    {.name = "small-file-count",
     .type = CONF_INT,
     .default_text = "100",
     .min = 0,
     .max = 100000000,
     .offset = offsetof(struct bench_command, small_count),
     .help = "small files of each thread"},
    {.name = "threads",
     .letter = 'p',
     .type = CONF_INT,
     .default_text = "1",
     .min = 1,
     .max = PARALLEL_THREADS_MAX,
     .offset = offsetof(struct bench_command, threads),
     .help = "threads that work at the same time"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct bench_command, json),
     .help = "print JSON"},
};

static const struct conf_command command = {
    .name = "tarn bench",
    .arguments = "PATH",
    .summary = "Write, read and stat files below a directory, and say how fast it went.",
    .details = "The files go into a directory of their own, which is removed at the end. As root\n"
               "the kernel's caches are dropped before reading (not with SKIP_DROP_CACHES=true).\n"
               "\n"
               "Exit codes: 0 done, 1 failed, 2 wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

/* Files of one kind; thread i has `count` of them. */
struct files {
    const char *directory, *name;
    uint64_t count, blocks; /* for each thread; in each file */
    size_t block_bytes;
    unsigned threads;
    struct progress *progress;
};

struct result {
    const char *item, *unit, *cost_unit;
    double value, cost;
};

#define RESULTS_MAX 5
struct results {
    struct result all[RESULTS_MAX];
    size_t count;
};

/* ------------------------------------------------------------------------------------ one thread
 */

typedef enum rc (*file_work)(const struct files *f, const char *path, uint8_t *block,
                             struct err *e);

static enum rc write_file(const struct files *f, const char *path, uint8_t *block, struct err *e)
{
    auto_close int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    if (fd == -1)
        return err_os(e, errno, "could not make \"%s\"", path);
    for (uint64_t i = 0; i < f->blocks; i++) {
        for (size_t done = 0; done < f->block_bytes;) {
            const ssize_t n = write(fd, block + done, f->block_bytes - done);
            if (n <= 0)
                return err_os(e, errno, "could not write \"%s\"", path);
            done += (size_t)n;
        }
        progress_add(f->progress, f->block_bytes);
    }
    if (close(take_fd(&fd)) == -1)
        return err_os(e, errno, "could not write \"%s\"", path);
    return RC_OK;
}

static enum rc read_file(const struct files *f, const char *path, uint8_t *block, struct err *e)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return err_os(e, errno, "could not open \"%s\"", path);
    for (uint64_t i = 0; i < f->blocks; i++) {
        for (size_t done = 0; done < f->block_bytes;) {
            const ssize_t n = read(fd, block + done, f->block_bytes - done);
            if (n == -1)
                return err_os(e, errno, "could not read \"%s\"", path);
            if (n == 0)
                return err_fail(e, RC_CORRUPT, "\"%s\" is shorter than it was written", path);
            done += (size_t)n;
        }
        progress_add(f->progress, f->block_bytes);
    }
    return RC_OK;
}

static enum rc stat_file(const struct files *f, const char *path, uint8_t *block, struct err *e)
{
    struct stat st;
    (void)f, (void)block;
    if (stat(path, &st) == -1)
        return err_os(e, errno, "could not stat \"%s\"", path);
    return RC_OK;
}

static enum rc remove_file(const struct files *f, const char *path, uint8_t *block, struct err *e)
{
    (void)f, (void)block;
    if (unlink(path) == -1 && errno != ENOENT)
        return err_os(e, errno, "could not remove \"%s\"", path);
    return RC_OK;
}

struct run {
    const struct files *files;
    file_work work;
};

static enum rc run_thread(size_t index, void *arg, struct err *e)
{
    const struct run *run = arg;
    const struct files *f = run->files;
    auto_free uint8_t *block = malloc(f->block_bytes);
    if (!block)
        return err_fail(e, RC_NO_SPACE, "out of memory");
    for (size_t at = 0; at < f->block_bytes; at += 256)
        if (getrandom(block + at, f->block_bytes - at < 256 ? f->block_bytes - at : 256, 0) < 0)
            return err_os(e, errno, "could not make random bytes");
    for (uint64_t i = 0; i < f->count; i++) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%s.%zu.%" PRIu64, f->directory, f->name, index, i);
        if (run->work(f, path, block, e))
            return e->code;
    }
    return RC_OK;
}

/* Seconds that all threads took together. */
static enum rc measure(struct files *f, const char *what, file_work work, double *seconds,
                       struct err *e)
{
    struct run run = {f, work};
    const uint64_t total = f->threads * f->count * f->blocks * f->block_bytes;
    const bool moves_bytes = work == write_file || work == read_file;
    f->progress = moves_bytes ? progress_open(what, total, true) : NULL;
    const uint64_t began_us = clock_us();
    enum rc rc = parallel_run(f->threads, f->threads, run_thread, &run, e);
    *seconds = (double)(clock_us() - began_us + 1) / 1e6;
    progress_close(&f->progress);
    return rc;
}

/* --------------------------------------------------------------------------------------- the work
 */

/* So that what is read comes through the mount. Not being allowed to is worth a line, no more. */
static void drop_caches(void)
{
    const char *skip = getenv("SKIP_DROP_CACHES");
    if (skip && strcmp(skip, "true") == 0)
        return;
    auto_close int fd = open(DROP_CACHES, O_WRONLY | O_CLOEXEC);
    if (fd == -1 || write(fd, "3", 1) != 1)
        log_warn("the kernel's caches could not be dropped: reading may come from memory");
}

static void add(struct results *r, struct result result)
{
    r->all[r->count++] = result;
}

static enum rc bench_big(struct files *f, struct results *r, struct err *e)
{
    double seconds;
    const double mib = (double)(f->blocks * f->block_bytes * f->threads) / MIB;
    if (measure(f, "writing big files", write_file, &seconds, e))
        return e->code;
    add(r, (struct result){"Write big file", "MiB/s", "s/file", mib / seconds, seconds});
    drop_caches();
    if (measure(f, "reading big files", read_file, &seconds, e))
        return e->code;
    add(r, (struct result){"Read big file", "MiB/s", "s/file", mib / seconds, seconds});
    return RC_OK;
}

static enum rc bench_small(struct files *f, struct results *r, struct err *e)
{
    static const struct {
        const char *item, *what;
        file_work work;
    } parts[] = {{"Write small file", "writing small files", write_file},
                 {"Read small file", "reading small files", read_file},
                 {"Stat file", "stat", stat_file}};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        double seconds;
        if (i > 0)
            drop_caches();
        if (measure(f, parts[i].what, parts[i].work, &seconds, e))
            return e->code;
        add(r, (struct result){parts[i].item, "files/s", "ms/file",
                               (double)(f->count * f->threads) / seconds,
                               seconds * 1000 / (double)f->count});
    }
    return RC_OK;
}

/* Whole blocks, as many as the size needs; one smaller block for a small file. */
static struct files shape(const char *directory, const char *name, int64_t bytes, uint64_t count,
                          const struct bench_command *o)
{
    struct files f = {.directory = directory,
                      .name = name,
                      .count = count,
                      .blocks = 1,
                      .block_bytes = (size_t)bytes,
                      .threads = (unsigned)o->threads};
    if (bytes > o->block_bytes) {
        f.block_bytes = (size_t)o->block_bytes;
        f.blocks = (uint64_t)((bytes - 1) / o->block_bytes + 1);
    }
    return f;
}

static enum rc clean(struct files *f, struct err *e)
{
    double ignored;
    return f->count && f->block_bytes ? measure(f, "removing", remove_file, &ignored, e) : RC_OK;
}

static enum rc bench(const char *directory, const struct bench_command *o, struct results *r,
                     struct err *e)
{
    struct files big = shape(directory, "bigfile", o->big_bytes, o->big_bytes > 0, o);
    struct files small = shape(directory, "smallfile", o->small_bytes, (uint64_t)o->small_count, o);
    enum rc rc = RC_OK;
    if (o->big_bytes > 0)
        rc = bench_big(&big, r, e);
    if (rc == RC_OK && o->small_bytes > 0 && o->small_count > 0)
        rc = bench_small(&small, r, e);
    /* What was left behind goes also when something failed; the first failure is the one to tell.
     */
    struct err cleaning = ERR_INIT;
    if (clean(&big, &cleaning) || clean(&small, &cleaning))
        log_err(LOG_LEVEL_WARN, &cleaning, "files are left in \"%s\"", directory);
    else if (rmdir(directory) == -1)
        log_warn("\"%s\" could not be removed", directory);
    return rc;
}

/* ----------------------------------------------------------------------------------------- report
 */

static enum rc print_table(const struct results *r, const struct bench_command *o, struct err *e)
{
    auto_table struct table *table = NULL;
    static const char *const heading[] = {"ITEM", "VALUE", "COST"};
    char block[HUMAN_BYTES], big[HUMAN_BYTES], small[HUMAN_BYTES];
    human_size(block, (uint64_t)o->block_bytes);
    human_size(big, (uint64_t)o->big_bytes);
    human_size(small, (uint64_t)o->small_bytes);
    printf("BlockSize: %s, BigFileSize: %s, SmallFileSize: %s, SmallFileCount: %" PRId64
           ", NumThreads: %" PRId64 "\n",
           block, big, small, o->small_count, o->threads);
    if (table_open(&table, 3, e) || table_add(table, heading, e))
        return e->code;
    for (size_t i = 0; i < r->count; i++) {
        char value[64], cost[64];
        const struct result *x = &r->all[i];
        (void)snprintf(value, sizeof(value), "%.*f %s", strcmp(x->unit, "MiB/s") == 0 ? 2 : 1,
                       x->value, x->unit);
        (void)snprintf(cost, sizeof(cost), "%.2f %s", x->cost, x->cost_unit);
        if (table_add(table, (const char *const[]){x->item, value, cost}, e))
            return e->code;
    }
    table_print(table, stdout);
    return RC_OK;
}

static enum rc print_json(const struct results *r, struct err *e)
{
    auto_json struct json *list = json_array_new();
    if (!list)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    for (size_t i = 0; i < r->count; i++) {
        const struct result *x = &r->all[i];
        auto_json struct json *item = json_object_new();
        if (!item)
            return err_fail(e, RC_NO_SPACE, "could not allocate a document");
        if (json_set_string(item, "item", x->item, e) ||
            json_set_real(item, "value", x->value, e) ||
            json_set_string(item, "unit", x->unit, e) || json_set_real(item, "cost", x->cost, e) ||
            json_set_string(item, "cost_unit", x->cost_unit, e) || json_append(list, &item, e))
            return e->code;
    }
    return json_print(list, stdout, e);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct bench_command *o = into;
    struct results results = {.count = 0};
    char directory[PATH_BYTES - 64];
    log_init("tarn", LOG_LEVEL_WARN, false);
    if (snprintf(directory, sizeof(directory), "%s/.tarn-bench-XXXXXX", arguments[0]) >=
        (int)sizeof(directory))
        return err_fail(e, RC_INVALID, "the path is too long");
    if (o->big_bytes == 0 && (o->small_bytes == 0 || o->small_count == 0))
        return err_fail(e, RC_INVALID, "there is nothing to do without big and small files");
    if (!mkdtemp(directory))
        return err_os(e, errno, "could not make a directory in \"%s\"", arguments[0]);
    if (bench(directory, o, &results, e))
        return e->code;
    return o->json ? print_json(&results, e) : print_table(&results, o, e);
}

int command_bench(int argc, char **argv)
{
    struct bench_command o;
    return command_run(&command, &o, work, argc, argv);
}
