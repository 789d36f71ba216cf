#include "fs/base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include <event2/event.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/thread.h"

#define MOST_POSTED      65536
#define LOOP_STACK_BYTES ((size_t)512 * 1024)

/* A call on its way to the loop. */
struct post {
    struct post *next;
    loop_fn fn;
    void *arg;
    bool is_borrowed; /* on the stack of a loop_call() */
};

struct signal_watch {
    struct signal_watch *next;
    struct event *event;
    loop_signal_fn fn;
    void *arg;
};

/*
 * Libevent is used without its own locks: its objects belong to the loop thread alone, and other
 * threads reach it through the queue and the eventfd.
 */
struct loop {
    /* set at open */
    struct event_base *base;
    struct event *wakeup;
    int wakeup_fd;
    bool has_thread;
    pthread_t thread;

    /* any thread */
    _Atomic bool is_stopping;

    /* shared */
    struct lock lock;
    struct post *first;
    struct post **last;
    size_t posted;
    bool is_closing;

    /* loop */
    struct signal_watch *signals;
};

struct loop_timer {
    struct event *event;
    loop_fn fn;
    void *arg;
};

static void wake(struct loop *loop)
{
    uint64_t one = 1;
    /* Fails only when 2^64 − 2 wake-ups are unread: then it wakes up anyway. */
    (void)!write(loop->wakeup_fd, &one, sizeof(one));
}

static struct post *take_posts(struct loop *loop)
{
    LOCK_SCOPE(&loop->lock);
    struct post *posts = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    loop->posted = 0;
    return posts;
}

static void run_posts_on_loop(struct loop *loop)
{
    struct post *post = take_posts(loop);
    while (post) {
        struct post current = *post; /* a borrowed one is gone when its call returns */
        if (!post->is_borrowed)
            free(post);
        current.fn(current.arg);
        post = current.next;
    }
}

static void wakeup_on_loop(evutil_socket_t fd, short events, void *arg)
{
    struct loop *loop = arg;
    uint64_t count;
    (void)events;
    (void)!read(fd, &count, sizeof(count));
    run_posts_on_loop(loop);
    if (atomic_load(&loop->is_stopping))
        (void)event_base_loopbreak(loop->base);
}

static enum rc watch_wakeup(struct loop *loop, struct err *e)
{
    loop->wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wakeup_fd == -1)
        return err_os(e, errno, "could not make an eventfd");
    loop->base = event_base_new();
    if (loop->base)
        loop->wakeup =
            event_new(loop->base, loop->wakeup_fd, EV_READ | EV_PERSIST, wakeup_on_loop, loop);
    if (!loop->wakeup || event_add(loop->wakeup, NULL) == -1)
        return err_fail(e, RC_NO_SPACE, "could not make an event loop");
    return RC_OK;
}

enum rc loop_open(struct loop **out, struct err *e)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return err_fail(e, RC_NO_SPACE, "out of memory for an event loop");
    loop->last = &loop->first;
    loop->wakeup_fd = -1;
    lock_init(&loop->lock, LOCK_BASE_QUEUE);
    if (watch_wakeup(loop, e)) {
        loop_close(&loop);
        return e->code;
    }
    *out = loop;
    return RC_OK;
}

static void *loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

enum rc loop_spawn(struct loop **out, const char *name, struct err *e)
{
    struct loop *loop = NULL;
    if (loop_open(&loop, e))
        return e->code;
    loop->has_thread = true;
    if (thread_start(&loop->thread, name, LOOP_STACK_BYTES, loop_thread, loop, e)) {
        loop->has_thread = false;
        loop_close(&loop);
        return e->code;
    }
    *out = loop;
    return RC_OK;
}

static void refuse_posts(struct loop *loop)
{
    LOCK_SCOPE(&loop->lock);
    loop->is_closing = true;
}

static void free_signals(struct loop *loop)
{
    while (loop->signals) {
        struct signal_watch *watch = loop->signals;
        loop->signals = watch->next;
        event_free(watch->event);
        free(watch);
    }
}

void loop_close(struct loop **loop)
{
    struct loop *l = *loop;
    *loop = NULL;
    if (!l)
        return;
    if (l->has_thread) {
        loop_stop(l);
        (void)pthread_join(l->thread, NULL);
    }
    /* Somebody may wait for what was posted last, and owns what its argument points to. */
    refuse_posts(l);
    run_posts_on_loop(l);
    free_signals(l);
    if (l->wakeup)
        event_free(l->wakeup);
    if (l->base)
        event_base_free(l->base);
    if (l->wakeup_fd >= 0)
        (void)close(l->wakeup_fd);
    lock_deinit(&l->lock);
    free(l);
}

void loop_run(struct loop *loop)
{
    /* A stop that came before we began counts: libevent itself would forget it. */
    while (!atomic_exchange(&loop->is_stopping, false))
        (void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stopping, true);
    wake(loop);
}

static bool append(struct loop *loop, struct post *post)
{
    LOCK_SCOPE(&loop->lock);
    if (loop->is_closing || (loop->posted >= MOST_POSTED && !post->is_borrowed))
        return false;
    *loop->last = post;
    loop->last = &post->next;
    loop->posted++;
    return true;
}

enum rc loop_post(struct loop *loop, loop_fn fn, void *arg, struct err *e)
{
    struct post *post = malloc(sizeof(*post));
    if (!post)
        return err_fail(e, RC_NO_SPACE, "out of memory for a call to a loop");
    *post = (struct post){.fn = fn, .arg = arg};
    if (!append(loop, post)) {
        free(post);
        return err_fail(e, RC_UNAVAILABLE, "the event loop is closing or has %d calls waiting",
                        MOST_POSTED);
    }
    wake(loop);
    return RC_OK;
}

/* One loop_call() and who waits for it. */
struct call {
    loop_fn fn;
    void *arg;
    struct lock lock;
    struct lock_cond done;
    bool is_done;
};

static void answer_on_loop(void *arg)
{
    struct call *call = arg;
    call->fn(call->arg);
    LOCK_SCOPE(&call->lock);
    call->is_done = true;
    lock_signal(&call->done);
}

static void await_call(struct call *call)
{
    LOCK_SCOPE(&call->lock);
    while (!call->is_done)
        (void)lock_wait(&call->done, &call->lock, CLOCK_FOREVER_MS);
}

void loop_call(struct loop *loop, loop_fn fn, void *arg)
{
    if (!loop->has_thread || pthread_equal(pthread_self(), loop->thread)) {
        fn(arg);
        return;
    }
    struct call call = {.fn = fn, .arg = arg};
    lock_init(&call.lock, LOCK_BASE_QUEUE);
    lock_cond_init(&call.done);
    struct post post = {.fn = answer_on_loop, .arg = &call, .is_borrowed = true};
    if (append(loop, &post)) {
        wake(loop);
        await_call(&call);
    }
    lock_cond_deinit(&call.done);
    lock_deinit(&call.lock);
}

static void timer_on_loop(evutil_socket_t fd, short events, void *arg)
{
    struct loop_timer *timer = arg;
    (void)fd;
    (void)events;
    timer->fn(timer->arg);
}

enum rc loop_every(struct loop *loop, uint64_t period_ms, loop_fn fn, void *arg,
                   struct loop_timer **out, struct err *e)
{
    struct timeval period = {.tv_sec = (time_t)(period_ms / 1000),
                             .tv_usec = (suseconds_t)(period_ms % 1000 * 1000)};
    struct loop_timer *timer = malloc(sizeof(*timer));
    if (timer) {
        *timer = (struct loop_timer){.fn = fn, .arg = arg};
        timer->event = event_new(loop->base, -1, EV_PERSIST, timer_on_loop, timer);
    }
    if (!timer || !timer->event || event_add(timer->event, &period) == -1) {
        loop_timer_close(&timer);
        return err_fail(e, RC_NO_SPACE, "could not make a timer");
    }
    *out = timer;
    return RC_OK;
}

void loop_timer_close(struct loop_timer **timer)
{
    if (*timer && (*timer)->event)
        event_free((*timer)->event);
    free(*timer);
    *timer = NULL;
}

static void signal_on_loop(evutil_socket_t signum, short events, void *arg)
{
    const struct signal_watch *watch = arg;
    (void)events;
    watch->fn((int)signum, watch->arg);
}

enum rc loop_signal(struct loop *loop, int signum, loop_signal_fn fn, void *arg, struct err *e)
{
    struct signal_watch *watch = malloc(sizeof(*watch));
    if (!watch)
        return err_fail(e, RC_NO_SPACE, "out of memory for a signal");
    *watch = (struct signal_watch){.next = loop->signals, .fn = fn, .arg = arg};
    watch->event = evsignal_new(loop->base, signum, signal_on_loop, watch);
    if (!watch->event || event_add(watch->event, NULL) == -1) {
        if (watch->event)
            event_free(watch->event);
        free(watch);
        return err_fail(e, RC_NO_SPACE, "could not watch for signal %d", signum);
    }
    loop->signals = watch;
    return RC_OK;
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}
