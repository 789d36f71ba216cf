#include "fs/vfs/crew.h"

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/pool.h"

#define THREADS_MAX 64

struct crew {
    /* set at the start */
    struct tree_watch *watch;
    crew_work work;
    void *arg;

    struct lock lock; /* guards the rest, and what crew_push_if() changes */
    struct lock_cond changed;
    struct crew_task *top;
    unsigned busy;    /* tasks that are being done */
    struct err first; /* failure */
};

static bool has_ended_locked(const struct crew *c)
{
    return c->first.code != RC_OK || (!c->top && c->busy == 0);
}

/* The next task; NULL: nothing will come any more. */
static struct crew_task *take(struct crew *c)
{
    LOCK_SCOPE(&c->lock);
    if (atomic_load(&c->watch->is_cancelled) && c->first.code == RC_OK)
        err_fail(&c->first, RC_CANCELLED, "the walk was cancelled");
    while (!c->top && !has_ended_locked(c))
        lock_wait(&c->changed, &c->lock, CLOCK_FOREVER_MS);
    if (has_ended_locked(c)) {
        lock_broadcast(&c->changed);
        return NULL;
    }
    struct crew_task *task = c->top;
    c->top = task->next;
    c->busy++;
    return task;
}

static void done(struct crew *c, const struct err *e)
{
    LOCK_SCOPE(&c->lock);
    c->busy--;
    if (e->code && c->first.code == RC_OK)
        c->first = *e;
    lock_broadcast(&c->changed);
}

static void work_on(void *arg)
{
    struct crew *c = arg;
    for (struct crew_task *task = take(c); task; task = take(c)) {
        struct err e = ERR_INIT;
        if (c->work(c, task, &e) == RC_OK)
            e.code = RC_OK; /* whatever was let pass */
        done(c, &e);
    }
}

void crew_push(struct crew *c, struct crew_task *task)
{
    LOCK_SCOPE(&c->lock);
    task->next = c->top;
    c->top = task;
    lock_signal(&c->changed);
}

void crew_push_if(struct crew *c, bool (*change)(struct crew_task *task), struct crew_task *task)
{
    LOCK_SCOPE(&c->lock);
    if (!change(task))
        return;
    task->next = c->top;
    c->top = task;
    lock_signal(&c->changed);
}

void *crew_arg(struct crew *c)
{
    return c->arg;
}

/* The owner works along, so that there is progress even where no thread can be started. */
static void work_together(struct crew *c)
{
    const unsigned wanted = c->watch->threads < THREADS_MAX ? c->watch->threads : THREADS_MAX;
    const struct pool_options options = {
        .name = "tree", .max_threads = wanted ? wanted : 1, .max_queued = THREADS_MAX};
    struct pool *pool = NULL;
    struct err alone = ERR_INIT;
    if (wanted > 1 && pool_open(&pool, &options, &alone) == RC_OK) {
        for (unsigned i = 1; i < wanted; i++)
            if (pool_submit(pool, work_on, c, &alone))
                break;
    }
    work_on(c);
    pool_close(&pool);
}

enum rc crew_run(struct tree_watch *watch, crew_work work, crew_drop drop, void *arg,
                 struct crew_task *first, struct err *e)
{
    struct crew c = {.watch = watch, .work = work, .arg = arg, .top = first};
    first->next = NULL;
    lock_init(&c.lock, LOCK_BASE_QUEUE);
    lock_cond_init(&c.changed);
    work_together(&c);
    while (c.top) {
        struct crew_task *task = c.top;
        c.top = task->next;
        drop(task);
    }
    lock_cond_deinit(&c.changed);
    lock_deinit(&c.lock);
    if (c.first.code)
        *e = c.first;
    return c.first.code;
}
