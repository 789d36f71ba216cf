#include "fs/base/progress.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/log.h"

#define DRAW_EVERY_MS 100
#define LOG_EVERY_MS  10000
#define BAR_CELLS     24
#define LINE_BYTES    192

struct progress {
    /* set at open */
    char what[64];
    bool is_bytes;
    bool is_terminal;
    uint64_t started_ms;

    /* any thread */
    _Atomic uint64_t done;
    _Atomic uint64_t total;
    _Atomic uint64_t shown_ms; /* whoever moves this on is the one who shows */
};

struct progress *progress_open(const char *what, uint64_t total, bool is_bytes)
{
    struct progress *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    (void)snprintf(p->what, sizeof(p->what), "%s", what);
    p->is_bytes = is_bytes;
    p->is_terminal = isatty(STDERR_FILENO) == 1;
    p->started_ms = clock_ms();
    atomic_store(&p->shown_ms, p->started_ms);
    atomic_store(&p->total, total);
    return p;
}

static double mib(double bytes)
{
    return bytes / (1024 * 1024);
}

/* ", 7 s left", once there is something to go by. */
static void print_left(const struct progress *p, double elapsed_s, char *out, size_t size)
{
    const double done = (double)p->done, total = (double)p->total;
    out[0] = '\0';
    if (done > 0 && done < total && elapsed_s >= 1)
        (void)snprintf(out, size, ", %.0f s left", elapsed_s * (total - done) / done);
}

/* "12.0/266.0 MiB 35.1 MiB/s, 7 s left", "12/266", or without total "12". */
static void print_amount(const struct progress *p, char *out, size_t size)
{
    uint64_t done = p->done;
    uint64_t total = p->total;
    double elapsed_s = (double)(clock_ms() - p->started_ms + 1) / 1000;
    char of[32] = "";
    if (p->is_bytes) {
        if (total > 0)
            (void)snprintf(of, sizeof(of), "/%.1f", mib((double)total));
        char left[32];
        print_left(p, elapsed_s, left, sizeof(left));
        (void)snprintf(out, size, "%.1f%s MiB %.1f MiB/s%s", mib((double)done), of,
                       mib((double)done / elapsed_s), left);
        return;
    }
    if (total > 0)
        (void)snprintf(of, sizeof(of), "/%" PRIu64, total);
    (void)snprintf(out, size, "%" PRIu64 "%s", done, of);
}

/* The part that is done, in units of 1/parts; it never shows all before all is done. */
static unsigned share(const struct progress *p, unsigned parts)
{
    uint64_t done = p->done;
    uint64_t total = p->total;
    if (total == 0)
        return 0;
    return done >= total ? parts : (unsigned)((double)done / (double)total * parts);
}

static void draw(const struct progress *p, const char *end)
{
    static const char cells[] = "########################";
    char amount[96];
    char line[LINE_BYTES];
    print_amount(p, amount, sizeof(amount));
    int length;
    if (p->total > 0)
        length = snprintf(line, sizeof(line), "\r%s %3u%% [%-*.*s] %s\033[K%s", p->what,
                          share(p, 100), BAR_CELLS, (int)share(p, BAR_CELLS), cells, amount, end);
    else
        length = snprintf(line, sizeof(line), "\r%s %s\033[K%s", p->what, amount, end);
    (void)!write(STDERR_FILENO, line, strnlen(line, (size_t)length));
}

static void report(const struct progress *p)
{
    char amount[96];
    print_amount(p, amount, sizeof(amount));
    if (p->total > 0)
        log_info("%s: %u%%, %s", p->what, share(p, 100), amount);
    else
        log_info("%s: %s", p->what, amount);
}

/* Show now and then; of threads that come at once, one. */
static void show(struct progress *p)
{
    uint64_t now = clock_ms();
    uint64_t shown = atomic_load(&p->shown_ms);
    uint64_t pause_ms = p->is_terminal ? DRAW_EVERY_MS : LOG_EVERY_MS;
    if (now - shown < pause_ms || !atomic_compare_exchange_strong(&p->shown_ms, &shown, now))
        return;
    if (p->is_terminal)
        draw(p, "");
    else
        report(p);
}

void progress_set(struct progress *p, uint64_t done, uint64_t total)
{
    if (!p)
        return;
    atomic_store(&p->done, done);
    atomic_store(&p->total, total);
    show(p);
}

void progress_add(struct progress *p, uint64_t n)
{
    if (!p)
        return;
    atomic_fetch_add(&p->done, n);
    show(p);
}

void progress_close(struct progress **p)
{
    if (*p && (*p)->is_terminal)
        draw(*p, "\n");
    else if (*p)
        report(*p);
    free(*p);
    *p = NULL;
}
