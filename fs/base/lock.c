#include "fs/base/lock.h"

#include <stdio.h>
#include <stdlib.h>

#include "fs/base/attr.h"
#include "fs/base/clock.h"

#ifndef NDEBUG

#define MOST_HELD 8

/* The ranks of what this thread holds, in the order they were taken. */
static _Thread_local struct {
    unsigned count;
    struct lock *locks[MOST_HELD];
} held;

static NORETURN void order_broken(const char *what, const struct lock *l)
{
    (void)fprintf(stderr, "lock order: %s %d while holding", what, (int)l->rank);
    for (unsigned i = 0; i < held.count; i++)
        (void)fprintf(stderr, " %d", (int)held.locks[i]->rank);
    (void)fprintf(stderr, "\n");
    abort();
}

static void order_take(struct lock *l)
{
    for (unsigned i = 0; i < held.count; i++)
        if (held.locks[i]->rank >= l->rank)
            order_broken("took", l);
    if (held.count == MOST_HELD)
        order_broken("too many locks, took", l);
    held.locks[held.count++] = l;
}

static void order_drop(struct lock *l)
{
    for (unsigned i = held.count; i-- > 0;) {
        if (held.locks[i] != l)
            continue;
        for (held.count--; i < held.count; i++)
            held.locks[i] = held.locks[i + 1];
        return;
    }
    order_broken("dropped, without holding it,", l);
}

#else

static void order_take(struct lock *l)
{
    (void)l;
}

static void order_drop(struct lock *l)
{
    (void)l;
}

#endif

/* These calls only fail on misuse: of ours, not of the world. */
static void must(int failure)
{
    if (failure)
        abort();
}

void lock_init(struct lock *l, enum lock_rank rank)
{
    must(pthread_mutex_init(&l->mutex, NULL));
    l->rank = rank;
}

void lock_deinit(struct lock *l)
{
    must(pthread_mutex_destroy(&l->mutex));
}

void lock_take(struct lock *l)
{
    order_take(l); /* before we wait, so that a deadlock aborts instead of hanging */
    must(pthread_mutex_lock(&l->mutex));
}

void lock_drop(struct lock *l)
{
    order_drop(l);
    must(pthread_mutex_unlock(&l->mutex));
}

void lock_cond_init(struct lock_cond *c)
{
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes));
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->cond, &attributes));
    must(pthread_condattr_destroy(&attributes));
}

void lock_cond_deinit(struct lock_cond *c)
{
    must(pthread_cond_destroy(&c->cond));
}

bool lock_wait(struct lock_cond *c, struct lock *l, uint64_t deadline_ms)
{
    if (deadline_ms == CLOCK_FOREVER_MS) {
        must(pthread_cond_wait(&c->cond, &l->mutex));
        return true;
    }
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ms / 1000),
        .tv_nsec = (long)(deadline_ms % 1000) * 1000000,
    };
    return pthread_cond_timedwait(&c->cond, &l->mutex, &until) == 0;
}

void lock_signal(struct lock_cond *c)
{
    must(pthread_cond_signal(&c->cond));
}

void lock_broadcast(struct lock_cond *c)
{
    must(pthread_cond_broadcast(&c->cond));
}
