#include "fs/mount/access_log.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "fs/base/clock.h"
#include "fs/base/lock.h"

enum {
    READERS_MAX = 16,
    READER_BYTES = 1 << 20,
    PATIENCE_MS = 1000,
};

struct log_reader {
    uint8_t *ring; /* READER_BYTES */
    size_t first, used;
    struct log_reader *next;
};

struct access_log {
    atomic_uint count;
    struct lock lock; /* guards the rest */
    struct lock_cond came;
    struct log_reader *readers;
};

enum rc access_log_open(struct access_log **out, struct err *e)
{
    struct access_log *log = calloc(1, sizeof(*log));
    if (!log)
        return err_fail(e, RC_NO_SPACE, "could not allocate the access log");
    lock_init(&log->lock, LOCK_BASE_QUEUE);
    lock_cond_init(&log->came);
    *out = log;
    return RC_OK;
}

void access_log_close(struct access_log **log)
{
    struct access_log *l = *log;
    if (!l)
        return;
    *log = NULL;
    while (l->readers) {
        struct log_reader *reader = l->readers;
        access_log_reader_close(l, &reader);
    }
    lock_cond_deinit(&l->came);
    lock_deinit(&l->lock);
    free(l);
}

bool access_log_is_read(struct access_log *log)
{
    return atomic_load_explicit(&log->count, memory_order_relaxed) > 0;
}

/* ---- the rings ---- */

static void put(struct log_reader *r, struct bytes line)
{
    if (line.size > READER_BYTES - r->used)
        return;
    const size_t at = (r->first + r->used) % READER_BYTES;
    const size_t head = line.size < READER_BYTES - at ? line.size : READER_BYTES - at;
    memcpy(r->ring + at, line.data, head);
    memcpy(r->ring, line.data + head, line.size - head);
    r->used += line.size;
}

static size_t take(struct log_reader *r, uint8_t *out, size_t size)
{
    const size_t all = size < r->used ? size : r->used;
    const size_t head = all < READER_BYTES - r->first ? all : READER_BYTES - r->first;
    memcpy(out, r->ring + r->first, head);
    memcpy(out + head, r->ring, all - head);
    r->first = (r->first + all) % READER_BYTES;
    r->used -= all;
    return all;
}

void access_log_add(struct access_log *log, struct bytes line)
{
    LOCK_SCOPE(&log->lock);
    for (struct log_reader *r = log->readers; r; r = r->next)
        put(r, line);
    lock_broadcast(&log->came);
}

/* ---- readers ---- */

enum rc access_log_reader(struct access_log *log, struct log_reader **out, struct err *e)
{
    struct log_reader *r = calloc(1, sizeof(*r));
    if (r)
        r->ring = malloc(READER_BYTES);
    if (!r || !r->ring) {
        free(r);
        return err_fail(e, RC_NO_SPACE, "could not allocate a reader of the access log");
    }
    LOCK_SCOPE(&log->lock);
    if (log->count >= READERS_MAX) {
        free(r->ring);
        free(r);
        return err_fail(e, RC_UNAVAILABLE, "%d read the access log already", READERS_MAX);
    }
    r->next = log->readers;
    log->readers = r;
    log->count++;
    *out = r;
    return RC_OK;
}

void access_log_reader_close(struct access_log *log, struct log_reader **reader)
{
    struct log_reader *r = *reader;
    if (!r)
        return;
    *reader = NULL;
    LOCK_SCOPE(&log->lock);
    struct log_reader **link = &log->readers;
    while (*link && *link != r)
        link = &(*link)->next;
    if (*link) {
        *link = r->next;
        log->count--;
    }
    free(r->ring);
    free(r);
}

size_t access_log_read(struct access_log *log, struct log_reader *reader, uint8_t *out, size_t size)
{
    static const char nothing[] = "#\n";
    const uint64_t until = clock_deadline(PATIENCE_MS);
    LOCK_SCOPE(&log->lock);
    while (reader->used == 0 && lock_wait(&log->came, &log->lock, until))
        ;
    if (reader->used)
        return take(reader, out, size);
    const size_t dummy = size < sizeof(nothing) - 1 ? size : sizeof(nothing) - 1;
    memcpy(out, nothing, dummy);
    return dummy;
}

/* ---- lines ---- */

enum rc access_log_name(struct buf *out, struct bytes name, struct err *e)
{
    for (size_t i = 0; i < name.size; i++) {
        const uint8_t c = name.data[i];
        const bool is_plain = c >= 0x20 && c != 0x7f && c != '"' && c != '\\';
        if (is_plain ? buf_add(out, &c, 1, e) : buf_addf(out, e, "\\x%02x", c))
            return e->code;
    }
    return RC_OK;
}

/* The words of stock clients, which Go has in lower case. */
static const char *outcome(int posix_errno, char *room, size_t size)
{
    if (posix_errno == 0)
        return "OK";
    const char *text = strerrordesc_np(posix_errno);
    size_t i = 0;
    for (; text && text[i] && i + 1 < size; i++)
        room[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    room[i] = '\0';
    return room;
}

enum rc access_log_format(struct buf *out, const struct access_line *line, struct err *e)
{
    struct timespec now;
    struct tm local;
    char stamp[32], word[64];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(stamp, sizeof(stamp), "%Y.%m.%d %H:%M:%S", &local);
    return buf_addf(out, e, "%s.%06ld [uid:%u,gid:%u,pid:%u] %s - %s <%.6f>\n", stamp,
                    now.tv_nsec / 1000, line->uid, line->gid, line->pid, line->call,
                    outcome(line->posix_errno, word, sizeof(word)),
                    (double)line->took_us / 1000000);
}
