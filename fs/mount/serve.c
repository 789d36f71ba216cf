#define FUSE_USE_VERSION 314

#include "fs/mount/serve.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/base/thread.h"

#define MAX_READERS 2
#define IDLE_MS     10000
#define STACK_BYTES ((size_t)512 << 10)
/* Only interrupts a read(2) of the device. */
#define WAKE_SIGNAL SIGUSR2

/*
 *   state     thread                     counted in
 *   FREE      none                       -
 *   WAITING   asleep on `turn`           live, waiting
 *   READING   in read(2) of the device   live, readers
 *   SERVING   runs a request             live
 *   ENDED     has left, to be joined     -
 */
enum worker_state { FREE, WAITING, READING, SERVING, ENDED };

struct worker {
    struct serve *serve;
    pthread_t thread;
    enum worker_state state; /* under serve->lock */
};

struct serve {
    struct fuse_session *session; /* set at open */
    unsigned max_threads;         /* set at open */
    serve_filter_fn filter;       /* set at open */
    void *filter_arg;             /* set at open */
    atomic_bool is_stopping;
    atomic_bool is_closing;

    pthread_t refuser; /* of the owner */
    bool has_refuser;  /* of the owner */
    bool is_refusing;  /* under lock */

    struct lock lock;      /* guards everything below and worker.state */
    struct lock_cond turn; /* a reader's place is free, or stopping */
    struct lock_cond gone; /* a worker ended, or stopping */
    unsigned live, readers, waiting;
    struct worker *workers; /* max_threads */
};

static void on_wake(UNUSED int signum)
{
}

/* Take a reader's place. False: this thread is not needed any more. */
static bool wait_turn(struct serve *s, struct worker *w)
{
    LOCK_SCOPE(&s->lock);
    uint64_t deadline = clock_deadline(IDLE_MS);
    w->state = WAITING;
    s->waiting++;
    bool in_time = true;
    while (s->readers >= MAX_READERS && !s->is_stopping && in_time)
        in_time = lock_wait(&s->turn, &s->lock, deadline);
    s->waiting--;
    if (s->is_stopping || s->readers >= MAX_READERS)
        return false;
    s->readers++;
    w->state = READING;
    return true;
}

static void *worker_main(void *arg);

/* Start a thread in a free place, if there is one. */
static void spawn_locked(struct serve *s)
{
    struct worker *w = s->workers;
    while (w < s->workers + s->max_threads && w->state != FREE && w->state != ENDED)
        w++;
    if (w == s->workers + s->max_threads)
        return;
    /* It set ENDED under the lock that we hold, and takes no lock after that. */
    if (w->state == ENDED)
        pthread_join(w->thread, NULL);

    struct err e = ERR_INIT;
    bool is_started = thread_start(&w->thread, "fuse", STACK_BYTES, worker_main, w, &e) == RC_OK;
    if (!is_started)
        log_err(LOG_LEVEL_WARN, &e, "fewer threads serve requests");
    w->state = is_started ? WAITING : FREE;
    s->live += is_started;
}

/* Give up the reader's place for a request, and see that somebody else reads meanwhile. */
static void leave_turn(struct serve *s, struct worker *w)
{
    LOCK_SCOPE(&s->lock);
    s->readers--;
    w->state = SERVING;
    if (s->is_stopping || s->readers > 0)
        return;
    if (s->waiting > 0)
        lock_signal(&s->turn);
    else
        spawn_locked(s);
}

/* Threads start with every signal blocked. */
static void accept_wake_signal(void)
{
    sigset_t wake;
    sigemptyset(&wake);
    sigaddset(&wake, WAKE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct serve *s = w->serve;
    struct fuse_buf request = {.mem = NULL};

    accept_wake_signal();
    while (wait_turn(s, w)) {
        int got = fuse_session_receive_buf(s->session, &request);
        leave_turn(s, w);
        if (got > 0 && !s->filter(s->filter_arg, &request))
            fuse_session_process_buf(s->session, &request);
        if ((got <= 0 && got != -EINTR) || fuse_session_exited(s->session))
            serve_stop(s);
    }
    free(request.mem);

    LOCK_SCOPE(&s->lock);
    w->state = ENDED;
    s->live--;
    lock_broadcast(&s->gone);
    return NULL;
}

enum rc serve_open(struct serve **out, struct fuse_session *session, unsigned max_threads,
                   serve_filter_fn filter, void *filter_arg, struct err *e)
{
    struct serve *s = calloc(1, sizeof(*s));
    struct worker *workers = calloc(max_threads, sizeof(*workers));
    if (!s || !workers) {
        free(workers);
        free(s);
        return err_os(e, ENOMEM, "could not allocate the request threads");
    }
    s->session = session;
    s->max_threads = max_threads;
    s->filter = filter;
    s->filter_arg = filter_arg;
    s->workers = workers;
    for (unsigned i = 0; i < max_threads; i++)
        workers[i].serve = s;
    lock_init(&s->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&s->turn);
    lock_cond_init(&s->gone);

    struct sigaction wake = {.sa_handler = on_wake};
    sigaction(WAKE_SIGNAL, &wake, NULL);
    *out = s;
    return RC_OK;
}

static void interrupt_readers_locked(struct serve *s)
{
    lock_broadcast(&s->turn);
    lock_broadcast(&s->gone);
    for (unsigned i = 0; i < s->max_threads; i++)
        if (s->workers[i].state == READING)
            pthread_kill(s->workers[i].thread, WAKE_SIGNAL);
}

/* By hand, because libfuse would carry the request out. */
static void refuse(struct serve *s, const struct fuse_buf *request)
{
    const struct fuse_in_header *in = request->mem;
    const struct fuse_out_header out = {
        .len = sizeof(out), .error = -ENOTCONN, .unique = in->unique};
    if (write(fuse_session_fd(s->session), &out, sizeof(out)) == -1)
        log_debug("a request that wants no answer or is gone was refused");
}

static void *refuser_main(void *arg)
{
    struct serve *s = arg;
    struct fuse_buf request = {.mem = NULL};
    int got = 0;

    accept_wake_signal();
    while (!s->is_closing &&
           ((got = fuse_session_receive_buf(s->session, &request)) > 0 || got == -EINTR))
        if (got > 0)
            refuse(s, &request);
    free(request.mem);

    LOCK_SCOPE(&s->lock);
    s->is_refusing = false;
    lock_broadcast(&s->gone);
    return NULL;
}

/*
 * Whoever waits for an answer holds locks of the kernel: of a directory, of pages. Our own threads
 * wait for those when they tell the kernel what to forget, and we wait for our threads at the end.
 * So nobody is left to wait.
 */
static void begin_refusing(struct serve *s)
{
    struct err e = ERR_INIT;
    s->is_refusing = true;
    s->has_refuser = thread_start(&s->refuser, "refuse", STACK_BYTES, refuser_main, s, &e) == RC_OK;
    if (!s->has_refuser)
        log_err(LOG_LEVEL_WARN, &e, "requests that have come too late wait for the end");
}

static void end_refusing(struct serve *s)
{
    if (!s->has_refuser)
        return;
    s->is_closing = true;
    lock_take(&s->lock);
    while (s->is_refusing) {
        pthread_kill(s->refuser, WAKE_SIGNAL);
        lock_wait(&s->gone, &s->lock, clock_deadline(20));
    }
    lock_drop(&s->lock);
    pthread_join(s->refuser, NULL);
}

static void serve_all(struct serve *s)
{
    LOCK_SCOPE(&s->lock);
    spawn_locked(s);
    while (!s->is_stopping && s->live > 0)
        lock_wait(&s->gone, &s->lock, CLOCK_FOREVER_MS);
    /*
     * A thread may be on its way into read(2) when the signal arrives, and then sleep in spite of
     * it: so the signal is repeated until everybody has left.
     */
    while (s->live > 0) {
        interrupt_readers_locked(s);
        lock_wait(&s->gone, &s->lock, clock_deadline(20));
    }
}

void serve_run(struct serve *s)
{
    serve_all(s);
    begin_refusing(s);
}

void serve_stop(struct serve *s)
{
    LOCK_SCOPE(&s->lock);
    s->is_stopping = true;
    interrupt_readers_locked(s);
}

void serve_close(struct serve **serve)
{
    struct serve *s = *serve;
    if (!s)
        return;
    end_refusing(s);
    for (unsigned i = 0; i < s->max_threads; i++)
        if (s->workers[i].state == ENDED)
            pthread_join(s->workers[i].thread, NULL);
    lock_cond_deinit(&s->gone);
    lock_cond_deinit(&s->turn);
    lock_deinit(&s->lock);
    free(s->workers);
    free(s);
    *serve = NULL;
}
