#include "fs/base/parallel.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "fs/base/lock.h"
#include "fs/base/thread.h"

#define STACK_BYTES ((size_t)512 * 1024)

struct batch {
    /* set at start */
    size_t count;
    parallel_work work;
    void *arg;

    atomic_size_t next;
    atomic_bool is_stopped;

    /* shared, under lock */
    struct lock lock;
    struct err first;
};

static void note_failure(struct batch *b, const struct err *e)
{
    atomic_store(&b->is_stopped, true);
    LOCK_SCOPE(&b->lock);
    if (b->first.code == RC_OK)
        b->first = *e;
}

static void *run(void *arg)
{
    struct batch *b = arg;
    while (!atomic_load(&b->is_stopped)) {
        const size_t i = atomic_fetch_add(&b->next, 1);
        if (i >= b->count)
            break;
        struct err e = ERR_INIT;
        if (b->work(i, b->arg, &e))
            note_failure(b, &e);
    }
    return NULL;
}

/* The caller is one of the threads, so that a machine without room for more still gets on. */
static void run_with_helpers(struct batch *b, unsigned helpers)
{
    pthread_t threads[PARALLEL_THREADS_MAX];
    unsigned started = 0;
    struct err ignored = ERR_INIT;
    while (started < helpers &&
           thread_start(&threads[started], "parallel", STACK_BYTES, run, b, &ignored) == RC_OK)
        started++;
    run(b);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

enum rc parallel_run(size_t count, unsigned threads, parallel_work work, void *arg, struct err *e)
{
    struct batch b = {.count = count, .work = work, .arg = arg, .first = ERR_INIT};
    if (threads > count)
        threads = (unsigned)count;
    if (threads > PARALLEL_THREADS_MAX)
        threads = PARALLEL_THREADS_MAX;
    lock_init(&b.lock, LOCK_BASE_QUEUE);
    run_with_helpers(&b, threads > 1 ? threads - 1 : 0);
    lock_deinit(&b.lock);
    if (b.first.code)
        *e = b.first;
    return b.first.code;
}
