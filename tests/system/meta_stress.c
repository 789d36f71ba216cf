#include "tests/system/meta_stress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "fs/base/clock.h"
#include "fs/meta/file.h"
#include "fs/meta/namespace.h"

#define THREADS_MAX 64
#define NAME_BYTES  32

struct worker {
    struct meta *meta;
    unsigned number, rounds;
    pthread_t thread;
    uint64_t done;
    struct err err; /* of the first failure */
};

struct keeper {
    struct meta *meta;
    pthread_t thread;
    atomic_bool is_ending;
    struct err err;
};

static struct bytes name_of(char into[NAME_BYTES], const char *word, unsigned number)
{
    int size = snprintf(into, NAME_BYTES, "%s%u", word, number);
    return (struct bytes){(const uint8_t *)into, (size_t)size};
}

static enum rc make(struct worker *w, ino_num parent, struct bytes name, enum node_type type,
                    struct node_attr *out)
{
    const struct meta_create what = {.parent = parent, .name = name, .type = type, .mode = 0755};
    w->done++;
    return meta_create(w->meta, &what, out, &w->err);
}

static enum rc expect(struct worker *w, uint64_t is, uint64_t wanted, const char *what)
{
    if (is == wanted)
        return RC_OK;
    return err_fail(&w->err, RC_CORRUPT, "thread %u: %s is %llu, not %llu", w->number, what,
                    (unsigned long long)is, (unsigned long long)wanted);
}

static enum rc write_slice(struct worker *w, ino_num ino, uint32_t pos, struct node_attr *out)
{
    const uint32_t sum = pos;
    struct meta_written slice = {.pos = pos, .size = 4096, .sums = &sum, .sums_count = 1};
    struct lane doubt = {.sid = 0};
    w->done++;
    if (meta_new_slice_id(w->meta, &slice.id, &w->err))
        return w->err.code;
    return meta_write(w->meta, ino, &slice, 1, clock_wall(), false, &doubt, out, &w->err);
}

static enum rc fill(struct worker *w, ino_num ino)
{
    struct node_attr attr = {.ino = 0};
    for (uint32_t end = 4096; end <= 3 * 4096; end += 4096)
        if (write_slice(w, ino, end - 4096, &attr) || expect(w, attr.length, end, "the length"))
            return w->err.code;
    struct meta_opened opened;
    w->done++;
    if (meta_open_file(w->meta, ino, false, &opened, &w->err))
        return w->err.code;
    enum rc rc = expect(w, opened.view ? opened.view->record_count : 0, 3, "the number of records");
    chunk_view_unref(&opened.view);
    return rc;
}

static enum rc one_round(struct worker *w, ino_num dir, unsigned round)
{
    char a[NAME_BYTES], b[NAME_BYTES];
    struct bytes first = name_of(a, "file", round), second = name_of(b, "moved", round);
    struct node_attr attr, gone;
    if (make(w, dir, first, NODE_FILE, &attr) || fill(w, attr.ino))
        return w->err.code;
    w->done += 4;
    if (meta_link(w->meta, attr.ino, dir, second, &gone, &w->err) ||
        expect(w, gone.nlink, 2, "the link count") ||
        meta_unlink(w->meta, dir, first, NULL, 0, 0, &gone, &w->err))
        return w->err.code;
    struct err absent = ERR_INIT;
    if (meta_lookup(w->meta, dir, first, &gone, &absent) != RC_REFUSED)
        return err_fail(&w->err, RC_CORRUPT, "thread %u: a removed name is there: %s", w->number,
                        absent.text);
    return meta_unlink(w->meta, dir, second, NULL, 0, 0, &gone, &w->err);
}

static enum rc all_rounds(struct worker *w)
{
    char name[NAME_BYTES];
    struct bytes own = name_of(name, "stress", w->number);
    struct node_attr dir;
    if (make(w, META_ROOT, own, NODE_DIRECTORY, &dir))
        return w->err.code;
    for (unsigned i = 0; i < w->rounds; i++)
        if (one_round(w, dir.ino, i))
            return w->err.code;
    w->done++;
    return meta_rmdir(w->meta, META_ROOT, own, 0, &dir, &w->err);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    w->err.code = all_rounds(w);
    return NULL;
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct meta_vitals vitals;
    while (!atomic_load(&k->is_ending)) {
        if (meta_flush_usage(k->meta, &k->err) || meta_refresh(k->meta, &vitals, &k->err))
            return NULL;
        clock_sleep_until(clock_deadline(5));
    }
    return NULL;
}

/* Start as many as the system lets us; returns how many. */
static unsigned start(struct worker *workers, struct meta *meta, const struct meta_stress *stress,
                      struct err *e)
{
    for (unsigned i = 0; i < stress->threads; i++) {
        workers[i] = (struct worker){.meta = meta, .number = i, .rounds = stress->rounds};
        int os = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        if (os) {
            err_os(e, os, "could not start a thread");
            return i;
        }
    }
    return stress->threads;
}

enum rc meta_stress_run(struct meta *meta, struct meta_stress *stress, struct err *e)
{
    struct worker workers[THREADS_MAX];
    struct keeper keeper = {.meta = meta};
    if (stress->threads > THREADS_MAX)
        return err_fail(e, RC_INVALID, "more than %d threads", THREADS_MAX);
    int os = pthread_create(&keeper.thread, NULL, keep, &keeper);
    if (os)
        return err_os(e, os, "could not start a thread");
    unsigned started = start(workers, meta, stress, e);
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        stress->done += workers[i].done;
        if (workers[i].err.code)
            *e = workers[i].err;
    }
    atomic_store(&keeper.is_ending, true);
    (void)pthread_join(keeper.thread, NULL);
    if (keeper.err.code)
        *e = keeper.err;
    return e->code;
}
