#include "fs/base/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "tests/unit/check.h"

#define POSTS 20000

struct tape {
    struct loop *loop;
    unsigned next;
    bool is_in_order;
};

struct note {
    struct tape *tape;
    unsigned number;
};

static void play(void *arg)
{
    struct note *note = arg;
    note->tape->is_in_order = note->tape->is_in_order && note->number == note->tape->next;
    note->tape->next++;
    free(note);
}

static void nothing(void *arg)
{
    (void)arg;
}

TEST("what is posted to a loop runs in order, and a call comes after it")
{
    struct err e;
    struct tape tape = {.is_in_order = true};
    CHECK_OK(loop_spawn(&tape.loop, "test-loop", &e), &e);
    for (unsigned i = 0; i < POSTS; i++) {
        struct note *note = malloc(sizeof(*note));
        *note = (struct note){&tape, i};
        CHECK_OK(loop_post(tape.loop, play, note, &e), &e);
    }
    loop_call(tape.loop, nothing, NULL);
    CHECK_EQ(tape.next, POSTS);
    CHECK(tape.is_in_order);
    loop_close(&tape.loop);
    CHECK(tape.loop == NULL);
}

TEST("a queue of 65536 posts is full, and closing still runs every one")
{
    struct err e;
    struct tape tape = {.is_in_order = true};
    CHECK_OK(loop_open(&tape.loop, &e), &e);
    for (unsigned i = 0; i < 65536; i++) {
        struct note *note = malloc(sizeof(*note));
        *note = (struct note){&tape, i};
        CHECK_OK(loop_post(tape.loop, play, note, &e), &e);
    }
    CHECK_RC(loop_post(tape.loop, nothing, NULL, &e), RC_UNAVAILABLE);
    loop_close(&tape.loop);
    CHECK_EQ(tape.next, 65536);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

TEST("a loop runs until it is stopped, even when the stop came first")
{
    struct err e;
    struct loop *loop = NULL;
    CHECK_OK(loop_open(&loop, &e), &e);
    loop_stop(loop);
    loop_run(loop);
    loop_close(&loop);
}

TEST("a stop ends one run only")
{
    struct err e;
    struct loop *loop = NULL;
    struct loop_timer *timer = NULL;
    CHECK_OK(loop_open(&loop, &e), &e);
    loop_stop(loop);
    loop_run(loop);
    uint64_t start_ms = clock_ms();
    CHECK_OK(loop_every(loop, 30, stop, loop, &timer, &e), &e);
    CHECK_OK(loop_post(loop, nothing, NULL, &e), &e);
    loop_run(loop);
    CHECK(clock_ms() - start_ms >= 29);
    loop_timer_close(&timer);
    loop_close(&loop);
}

struct ticking {
    struct loop *loop;
    struct loop_timer *timer;
    unsigned ticks;
};

static void tick(void *arg)
{
    struct ticking *t = arg;
    if (++t->ticks == 5) {
        loop_timer_close(&t->timer);
        CHECK(t->timer == NULL);
        struct err e;
        /* One more period must pass without a tick. */
        CHECK_OK(loop_every(t->loop, 30, stop, t->loop, &t->timer, &e), &e);
    }
}

TEST("a timer fires each period until it is closed, from within itself too")
{
    struct err e;
    struct ticking t = {0};
    CHECK_OK(loop_open(&t.loop, &e), &e);
    uint64_t start_ms = clock_ms();
    CHECK_OK(loop_every(t.loop, 10, tick, &t, &t.timer, &e), &e);
    loop_run(t.loop);
    CHECK_EQ(t.ticks, 5);
    CHECK(clock_ms() - start_ms >= 75);
    loop_timer_close(&t.timer);
    loop_close(&t.loop);
}

static void on_signal(int signum, void *arg)
{
    struct ticking *t = arg;
    t->ticks += signum == SIGHUP;
    loop_stop(t->loop);
}

TEST("a signal reaches the loop that watches for it")
{
    struct err e;
    struct ticking t = {0};
    CHECK_OK(loop_open(&t.loop, &e), &e);
    CHECK_OK(loop_signal(t.loop, SIGHUP, on_signal, &t, &e), &e);
    CHECK_EQ(kill(getpid(), SIGHUP), 0);
    loop_run(t.loop);
    CHECK_EQ(t.ticks, 1);
    loop_close(&t.loop);
}

static void *post_many(void *arg)
{
    struct err e;
    for (int i = 0; i < 1000; i++)
        if (loop_post(arg, nothing, NULL, &e))
            return arg;
    return NULL;
}

TEST("many threads may post to and call one loop at once")
{
    struct err e;
    struct loop *loop = NULL;
    pthread_t threads[4];
    CHECK_OK(loop_spawn(&loop, "test-loop", &e), &e);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, post_many, loop), 0);
    for (int i = 0; i < 100; i++)
        loop_call(loop, nothing, NULL);
    for (int i = 0; i < 4; i++) {
        void *failure;
        CHECK_EQ(pthread_join(threads[i], &failure), 0);
        CHECK(failure == NULL);
    }
    loop_close(&loop);
}
