/*
 * tarn stats: what a mount, ours or a stock one, is doing: one line each second, from its .stats.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/clock.h"
#include "fs/base/command.h"
#include "fs/base/json.h"
#include "fs/base/log.h"
#include "fs/cli/verbs.h"

#define STATS_BYTES_MAX ((size_t)16 << 20)
#define HEADER_EVERY    30

struct stats_options {
    bool json;
    int64_t interval_ms, count;
};

static const struct conf_option options[] = {
    {.name = "interval",
     .type = CONF_DURATION,
     .unit = "s",
     .default_text = "1s",
     .min = 100,
     .max = 3600000,
     .offset = offsetof(struct stats_options, interval_ms),
     .help = "time between two lines"},
    {.name = "count",
     .letter = 'c',
     .type = CONF_INT,
     .default_text = "0",
     .min = 0,
     .max = 1000000000,
     .offset = offsetof(struct stats_options, count),
     .help = "lines to print; 0: until interrupted"},
    {.name = "json",
     .type = CONF_FLAG,
     .offset = offsetof(struct stats_options, json),
     .help = "print every metric once, as JSON"},
};

static const struct conf_command command = {
    .name = "tarn stats",
    .arguments = "MOUNTPOINT",
    .summary = "Show what a mount is doing.",
    .details =
        "Columns: usage (CPU, memory, buffers), fuse (requests a second, their mean time in ms,\n"
        "bytes read and written a second), meta (calls a second, mean ms), blockcache (bytes\n"
        "read from and written to the cache a second), object (bytes a second).\n"
        "\n"
        "Exit codes: 0 shown, 1 failed, 2 wrong command line.\n",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .min_arguments = 1,
    .max_arguments = 1,
};

enum column_kind { COLUMN_CPU, COLUMN_GAUGE, COLUMN_BYTES, COLUMN_TIMED };

struct column {
    const char *section, *title, *metric;
    enum column_kind kind;
};

static const struct column columns[] = {
    {"usage", "cpu", "juicefs_cpu_usage", COLUMN_CPU},
    {"usage", "mem", "juicefs_memory", COLUMN_GAUGE},
    {"usage", "buf", "juicefs_used_buffer_size_bytes", COLUMN_GAUGE},
    {"fuse", "ops", "juicefs_fuse_ops_durations_histogram_seconds", COLUMN_TIMED},
    {"fuse", "read", "juicefs_fuse_read_size_bytes_sum", COLUMN_BYTES},
    {"fuse", "write", "juicefs_fuse_written_size_bytes_sum", COLUMN_BYTES},
    {"meta", "ops", "juicefs_meta_ops_durations_histogram_seconds", COLUMN_TIMED},
    {"blockcache", "read", "juicefs_blockcache_hit_bytes", COLUMN_BYTES},
    {"blockcache", "write", "juicefs_blockcache_write_bytes", COLUMN_BYTES},
    {"object", "get", "juicefs_object_request_data_bytes_GET", COLUMN_BYTES},
    {"object", "put", "juicefs_object_request_data_bytes_PUT", COLUMN_BYTES},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* What the columns are made of, at one moment. */
struct sample {
    double value[COLUMNS], seconds[COLUMNS];
    uint64_t at_us;
};

/* ---- reading ---- */

static enum rc read_text(const char *mount_point, struct buf *out, struct err *e)
{
    static const char *const names[] = {".jfs.stats", ".stats"};
    char path[PATH_MAX];
    auto_close int fd = -1;
    for (size_t i = 0; fd == -1 && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", mount_point, names[i]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd == -1)
        return err_os(e, errno, "could not open .stats in \"%s\"", mount_point);
    for (;;) {
        if (buf_reserve(out, 65536, e))
            return e->code;
        const ssize_t n = read(fd, out->data + out->size, 65536);
        if (n == -1)
            return err_os(e, errno, "could not read .stats in \"%s\"", mount_point);
        if (n == 0)
            return RC_OK;
        out->size += (size_t)n;
    }
}

/* A timed metric is two: how many, and how long all together. */
static void take_value(struct sample *s, const char *name, double value)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        const size_t size = strlen(columns[i].metric);
        if (strncmp(name, columns[i].metric, size) != 0)
            continue;
        const char *suffix = name + size;
        const bool is_timed = columns[i].kind == COLUMN_TIMED;
        if (strcmp(suffix, is_timed ? "_total" : "") == 0)
            s->value[i] = value;
        else if (is_timed && strcmp(suffix, "_sum") == 0)
            s->seconds[i] = value;
    }
}

typedef enum rc (*value_visit)(void *arg, const char *name, double value, struct err *e);

static enum rc each_value(const char *mount_point, value_visit visit, void *arg, struct err *e)
{
    auto_buf struct buf text;
    buf_init(&text, STATS_BYTES_MAX);
    const char *whole;
    if (read_text(mount_point, &text, e) || buf_cstr(&text, &whole, e))
        return e->code;
    char *rest = (char *)text.data, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *space = strrchr(line, ' ');
        if (!space)
            continue;
        *space = '\0';
        if (visit(arg, line, strtod(space + 1, NULL), e))
            return e->code;
    }
    return RC_OK;
}

static enum rc sample_value(void *arg, const char *name, double value, struct err *e)
{
    (void)e;
    take_value(arg, name, value);
    return RC_OK;
}

static enum rc take_sample(const char *mount_point, struct sample *out, struct err *e)
{
    *out = (struct sample){.at_us = clock_us()};
    return each_value(mount_point, sample_value, out, e);
}

/* ---- printing ---- */

static void print_amount(double value, bool is_bytes)
{
    static const char units[] = " KMGTP";
    size_t unit = 0;
    for (; value >= 10000 && unit + 2 < sizeof(units); unit++)
        value /= 1024;
    printf("%4.0f%c ", value < 0 ? 0 : value, unit == 0 && is_bytes ? 'B' : units[unit]);
}

static void print_column(const struct column *c, double then, double now, double then_s,
                         double now_s, double seconds)
{
    const double delta = now - then;
    switch (c->kind) {
    case COLUMN_CPU:
        printf("%4.1f%% ", delta / seconds * 100);
        break;
    case COLUMN_GAUGE:
        print_amount(now, true);
        break;
    case COLUMN_BYTES:
        print_amount(delta / seconds, true);
        break;
    case COLUMN_TIMED:
        print_amount(delta / seconds, false);
        printf("%4.2f  ", delta > 0 ? (now_s - then_s) * 1000 / delta : 0.0);
        break;
    }
}

static bool begins_section(const struct column *c)
{
    return c == columns || strcmp(c->section, c[-1].section) != 0;
}

/* What stands before a column. */
static const char *divider(const struct column *c)
{
    return c > columns && begins_section(c) ? "|" : "";
}

static void print_header(void)
{
    char line[16];
    for (size_t i = 0; i < COLUMNS; i++) {
        snprintf(line, sizeof(line), "%s", begins_section(&columns[i]) ? columns[i].section : "");
        printf("%s%-*s", divider(&columns[i]), columns[i].kind == COLUMN_TIMED ? 12 : 6, line);
    }
    putchar('\n');
    for (size_t i = 0; i < COLUMNS; i++)
        printf(columns[i].kind == COLUMN_TIMED ? "%s%5s %5s " : "%s%5s ", divider(&columns[i]),
               columns[i].title, "lat");
    putchar('\n');
}

static void print_line(const struct sample *then, const struct sample *now)
{
    const double seconds = (double)(now->at_us - then->at_us + 1) / 1000000;
    for (size_t i = 0; i < COLUMNS; i++) {
        fputs(divider(&columns[i]), stdout);
        print_column(&columns[i], then->value[i], now->value[i], then->seconds[i], now->seconds[i],
                     seconds);
    }
    putchar('\n');
    fflush(stdout);
}

static enum rc watch(const struct stats_options *o, const char *mount_point, struct err *e)
{
    struct sample then, now;
    if (take_sample(mount_point, &then, e))
        return e->code;
    for (int64_t line = 0; o->count == 0 || line < o->count; line++) {
        if (line % HEADER_EVERY == 0)
            print_header();
        clock_sleep_until(clock_deadline((uint64_t)o->interval_ms));
        if (take_sample(mount_point, &now, e))
            return e->code;
        print_line(&then, &now);
        then = now;
    }
    return RC_OK;
}

static enum rc set_value(void *arg, const char *name, double value, struct err *e)
{
    return json_set_real(arg, name, value, e);
}

static enum rc print_all(const char *mount_point, struct err *e)
{
    auto_json struct json *doc = json_object_new();
    if (!doc)
        return err_fail(e, RC_NO_SPACE, "could not allocate a document");
    return each_value(mount_point, set_value, doc, e) ? e->code : json_print(doc, stdout, e);
}

static enum rc work(void *into, const char *const *arguments, struct err *e)
{
    const struct stats_options *o = into;
    struct stat st;
    log_init("tarn", LOG_LEVEL_WARN, false);
    enum rc rc = RC_OK;
    if (stat(arguments[0], &st) == -1)
        rc = err_os(e, errno, "cannot look at \"%s\"", arguments[0]);
    else if (st.st_ino != 1)
        rc = err_fail(e, RC_INVALID, "\"%s\" is no mount of a volume", arguments[0]);
    else
        rc = o->json ? print_all(arguments[0], e) : watch(o, arguments[0], e);
    return rc ? err_exits(e, EXIT_FAILED) : RC_OK;
}

int command_stats(int argc, char **argv)
{
    struct stats_options o;
    return command_run(&command, &o, work, argc, argv);
}
