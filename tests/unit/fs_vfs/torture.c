#include "tests/unit/fs_vfs/torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/hash.h"

enum {
    HANDLES = 3,
    ZONE = 400 << 10, /* writes gather around the borders of chunks */
    SIZE_SMALL = 64 << 10,
    SIZE_LARGE = 2 << 20,
    COMPARE_BYTES = 1 << 20,
};

struct torture {
    const struct torture_options *options;
    uint64_t random, step;
    int model;
    ino_num ino;
    struct vfs_file *files[HANDLES];
    uint8_t *ours, *theirs; /* SIZE_LARGE each */
};

static const struct vfs_caller caller = {1000, 1000, 1, false};

static NORETURN void differ(const struct torture *t, const char *fmt, ...) PRINTF(2, 3);
static NORETURN void differ(const struct torture *t, const char *fmt, ...)
{
    va_list arguments;
    (void)fprintf(stderr, "seed %llu, step %llu: ", (unsigned long long)t->options->seed,
                  (unsigned long long)t->step);
    va_start(arguments, fmt);
    (void)vfprintf(stderr, fmt, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\n");
    abort();
}

static void must(const struct torture *t, enum rc rc, const struct err *e, const char *what)
{
    if (rc)
        differ(t, "%s: %s: %s", what, rc_name(rc), e->text);
}

static uint64_t draw(struct torture *t, uint64_t below)
{
    t->random = hash_u64(t->random + 0x9E3779B97F4A7C15u);
    return t->random % below;
}

/* ---- the two files ---- */

static void open_handle(struct torture *t, unsigned i)
{
    struct err e = ERR_INIT;
    bool keeps;
    must(t, vfs_open_file(t->options->vfs, t->ino, O_RDWR, &t->files[i], &keeps, &e), &e, "open");
}

static void begin(struct torture *t)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    const char *name = t->options->name;
    const struct meta_create what = {.parent = META_ROOT,
                                     .name = {(const uint8_t *)name, strlen(name)},
                                     .type = NODE_FILE,
                                     .mode = 0644};
    must(t, vfs_create(t->options->vfs, &caller, &what, O_RDWR, &attr, &t->files[0], &e), &e,
         "create");
    t->ino = attr.ino;
    t->model = open(t->options->model, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    t->ours = malloc(SIZE_LARGE);
    t->theirs = malloc(SIZE_LARGE);
    if (t->model < 0 || !t->ours || !t->theirs)
        differ(t, "could not make the model");
}

static void end(struct torture *t)
{
    for (unsigned i = 0; i < HANDLES; i++)
        vfs_release(&t->files[i]);
    (void)close(t->model);
    free(t->ours);
    free(t->theirs);
}

static uint64_t model_length(const struct torture *t)
{
    struct stat st;
    if (fstat(t->model, &st) == -1)
        differ(t, "fstat of the model");
    return (uint64_t)st.st_size;
}

static void model_write(const struct torture *t, uint64_t off, const uint8_t *data, size_t size)
{
    if (pwrite(t->model, data, size, (off_t)off) != (ssize_t)size)
        differ(t, "write to the model");
}

static struct vfs_file *any_file(struct torture *t)
{
    const unsigned i = (unsigned)draw(t, HANDLES);
    if (!t->files[i])
        open_handle(t, i);
    return t->files[i];
}

static uint64_t any_offset(struct torture *t)
{
    const uint64_t border = draw(t, t->options->chunks) * META_CHUNK_BYTES;
    const uint64_t off = border + draw(t, ZONE);
    return off > ZONE / 2 ? off - ZONE / 2 : off;
}

static size_t any_size(struct torture *t)
{
    if (draw(t, 12) == 0)
        return 1 + (size_t)draw(t, SIZE_LARGE);
    if (draw(t, 3) == 0)
        return 1 + (size_t)draw(t, 200);
    return 1 + (size_t)draw(t, SIZE_SMALL);
}

/* ---- steps ---- */

static void write_at(struct torture *t, struct vfs_file *file, uint64_t off, size_t size)
{
    struct err e = ERR_INIT;
    const uint64_t base = draw(t, UINT32_MAX);
    for (size_t i = 0; i < size; i++)
        t->ours[i] = (uint8_t)(((base + i) * 2654435761u) >> 13);
    must(t, vfs_write(file, &caller, off, (struct bytes){t->ours, size}, &e), &e, "write");
    model_write(t, off, t->ours, size);
}

static void step_write(struct torture *t)
{
    write_at(t, any_file(t), any_offset(t), any_size(t));
}

/* As cp writes: one after the other. */
static void step_stream(struct torture *t)
{
    struct vfs_file *file = any_file(t);
    uint64_t off = any_offset(t);
    for (uint64_t n = draw(t, 40); n; n--) {
        write_at(t, file, off, 16384);
        off += 16384;
    }
}

static void read_at(struct torture *t, struct vfs_file *file, uint64_t off, size_t size)
{
    struct err e = ERR_INIT;
    size_t got = 0;
    memset(t->ours, 0xAA, size);
    must(t, vfs_read(file, off, size, t->ours, &got, &e), &e, "read");
    const ssize_t expected = pread(t->model, t->theirs, size, (off_t)off);
    if ((ssize_t)got != expected)
        differ(t, "read of %zu at %llu gave %zu instead of %zd", size, (unsigned long long)off, got,
               expected);
    for (size_t i = 0; i < got; i++) {
        if (t->ours[i] != t->theirs[i])
            differ(t, "byte %llu (of a read of %zu at %llu) is %02x instead of %02x",
                   (unsigned long long)off + i, size, (unsigned long long)off, t->ours[i],
                   t->theirs[i]);
    }
}

static void step_read(struct torture *t)
{
    read_at(t, any_file(t), any_offset(t), any_size(t));
}

static void step_truncate(struct torture *t)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    const uint64_t length = any_offset(t);
    const struct meta_setattr what = {.ino = t->ino, .mask = SETATTR_LENGTH, .length = length};
    must(t, vfs_setattr(t->options->vfs, &what, &attr, &e), &e, "truncate");
    if (ftruncate(t->model, (off_t)length) == -1 || attr.length != length)
        differ(t, "truncate to %llu gave %llu", (unsigned long long)length,
               (unsigned long long)attr.length);
}

/* The model has no holes: what is punched or zeroed below its end is written with zeros. */
static void step_fallocate(struct torture *t)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    struct err e = ERR_INIT;
    const int mode = modes[draw(t, 5)];
    const uint64_t off = any_offset(t), len = any_size(t), old = model_length(t);

    must(t, vfs_fallocate(any_file(t), mode, off, len, &e), &e, "fallocate");
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && off < old) {
        memset(t->ours, 0, len);
        model_write(t, off, t->ours, off + len < old ? len : old - off);
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > old &&
        ftruncate(t->model, (off_t)(off + len)) == -1)
        differ(t, "extend the model");
}

static void step_fsync(struct torture *t)
{
    struct err e = ERR_INIT;
    must(t, vfs_fsync(any_file(t), &e), &e, "fsync");
}

static void step_close(struct torture *t)
{
    struct err e = ERR_INIT;
    const unsigned i = (unsigned)draw(t, HANDLES);
    if (!t->files[i])
        return;
    must(t, vfs_fsync(t->files[i], &e), &e, "flush");
    vfs_release(&t->files[i]);
}

static void step_getattr(struct torture *t)
{
    struct err e = ERR_INIT;
    struct node_attr attr;
    must(t, vfs_getattr(t->options->vfs, t->ino, &attr, &e), &e, "getattr");
    if (attr.length != model_length(t))
        differ(t, "the length is %llu instead of %llu", (unsigned long long)attr.length,
               (unsigned long long)model_length(t));
}

/* What SEEK_DATA passes over must be zeros; what SEEK_HOLE finds must be no byte but zero. */
static void step_seek(struct torture *t)
{
    struct err e = ERR_INIT;
    uint64_t found = 0, off = any_offset(t);
    const uint64_t length = model_length(t);

    enum rc rc = vfs_lseek(any_file(t), off, SEEK_DATA, &found, &e);
    if (off >= length && (rc != RC_REFUSED || e.posix != ENXIO))
        differ(t, "SEEK_DATA past the end");
    if (off >= length)
        return;
    if (rc == RC_REFUSED && e.posix == ENXIO)
        found = length;
    else
        must(t, rc, &e, "seek");
    for (; off < found; off += COMPARE_BYTES) {
        const size_t n = found - off < COMPARE_BYTES ? (size_t)(found - off) : COMPARE_BYTES;
        if (pread(t->model, t->theirs, n, (off_t)off) != (ssize_t)n)
            differ(t, "read of the model");
        for (size_t i = 0; i < n; i++)
            if (t->theirs[i])
                differ(t, "SEEK_DATA passed over byte %llu", (unsigned long long)off + i);
    }
}

static const struct {
    void (*run)(struct torture *t);
    unsigned weight;
} steps[] = {
    {step_write, 40}, {step_stream, 5}, {step_read, 40},   {step_truncate, 3}, {step_fallocate, 4},
    {step_fsync, 6},  {step_close, 4},  {step_getattr, 4}, {step_seek, 1},
};

static void one_step(struct torture *t)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        total += steps[i].weight;
    uint64_t drawn = draw(t, total);
    size_t i = 0;
    while (drawn >= steps[i].weight)
        drawn -= steps[i++].weight;
    steps[i].run(t);
}

static void compare(struct torture *t)
{
    const uint64_t length = model_length(t);
    step_getattr(t);
    for (uint64_t off = 0; off < length; off += COMPARE_BYTES)
        read_at(t, any_file(t), off, COMPARE_BYTES);
    read_at(t, any_file(t), length, 1);
}

void torture_run(const struct torture_options *options)
{
    struct torture t = {.options = options, .random = options->seed};
    begin(&t);
    for (t.step = 0; t.step < options->steps; t.step++)
        one_step(&t);
    compare(&t);
    end(&t);
}

void torture_compare(const struct torture_options *options)
{
    struct torture t = {.options = options, .random = options->seed, .step = options->steps};
    begin(&t);
    compare(&t);
    end(&t);
}
