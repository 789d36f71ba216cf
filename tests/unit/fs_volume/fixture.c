#include "tests/unit/fs_volume/fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/check.h"

#define PACKED_MAX ((size_t)16 << 20)

static void run(const char *fmt, ...) PRINTF(1, 2);

static void run(const char *fmt, ...)
{
    char command[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    CHECK_EQ(system(command), 0);
}

/* Undo COPY's escapes in place: of those, JSON text holds these alone. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != 0; from++) {
        if (*from == '\\' && from[1] != 0) {
            from++;
            *to++ = *from == 'n' ? '\n' : *from == 't' ? '\t' : *from;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
}

/* name \t value */
static void read_setting(struct fixture *f, char *line)
{
    struct err e = ERR_INIT;
    char *value = strchr(line, '\t');
    if (!value || strncmp(line, "format\t", 7) != 0)
        return;
    unescape(++value);
    struct bytes text = {(const uint8_t *)value, strlen(value)};
    CHECK_OK(format_parse(text, &f->format, &e), &e);
}

/* id \t inode \t indx \t \\xHEX */
static void read_chunk(struct fixture *f, const char *line)
{
    struct err e = ERR_INIT;
    unsigned long long ino;
    unsigned indx;
    int hex = 0;
    CHECK(sscanf(line, "%*u\t%llu\t%u\t\\\\x%n", &ino, &indx, &hex) == 2 && hex > 0);
    CHECK(f->chunk_count < FIXTURE_CHUNKS_MAX);
    struct fixture_chunk *chunk = &f->chunks[f->chunk_count++];
    const size_t before = f->packed.size;
    for (const char *at = line + hex; at[0] && at[1]; at += 2) {
        unsigned byte;
        CHECK_EQ(sscanf(at, "%2x", &byte), 1);
        CHECK_OK(buf_add(&f->packed, &(uint8_t){(uint8_t)byte}, 1, &e), &e);
    }
    *chunk = (struct fixture_chunk){ino, indx, {f->packed.data + before, f->packed.size - before}};
}

static void read_dump(struct fixture *f)
{
    char command[512];
    (void)snprintf(command, sizeof(command), "gzip -dc %s/data/fixtures/%s/dump.sql.gz",
                   TARN_TESTS_DIR, f->name);
    FILE *dump = popen(command, "re");
    CHECK(dump != NULL);
    char *line = NULL;
    size_t room = 0;
    enum { OTHER, SETTING, CHUNK } table = OTHER;
    for (ssize_t size; (size = getline(&line, &room, dump)) > 0;) {
        line[size - 1] = 0;
        if (strncmp(line, "COPY public.jfs_setting ", 24) == 0)
            table = SETTING;
        else if (strncmp(line, "COPY public.jfs_chunk ", 22) == 0)
            table = CHUNK;
        else if (strcmp(line, "\\.") == 0)
            table = OTHER;
        else if (table == SETTING)
            read_setting(f, line);
        else if (table == CHUNK)
            read_chunk(f, line);
    }
    free(line);
    CHECK_EQ(pclose(dump), 0);
}

void fixture_open(struct fixture *f, const char *name)
{
    struct err e = ERR_INIT;
    *f = (struct fixture){0};
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    (void)snprintf(f->directory, sizeof(f->directory), "%s", check_directory());
    run("zstd -dc '%s/data/fixtures/%s/objects.tar.zst' | tar -C '%s' -xf -", TARN_TESTS_DIR, name,
        f->directory);
    buf_init(&f->packed, PACKED_MAX);
    /* Chunks point into it, so it must not move. */
    CHECK_OK(buf_reserve(&f->packed, PACKED_MAX, &e), &e);
    read_dump(f);
    CHECK(f->format != NULL && f->chunk_count > 0);
    (void)snprintf(f->bucket, sizeof(f->bucket), "%s/%s", f->directory,
                   f->format->shards > 1 ? "shard-%d/" : "");
}

void fixture_close(struct fixture *f)
{
    format_free(&f->format);
    buf_deinit(&f->packed);
}

struct volume *fixture_volume(const struct fixture *f)
{
    static char primary[] = "primary";
    const struct meta_site site = {.name = primary, .role = primary, .is_ready = true};
    const struct volume_options options = {.bucket = f->bucket, .checks_uuid = true};
    struct volume *volume = NULL;
    struct err e = ERR_INIT;
    CHECK_OK(volume_assemble(&volume, f->format, &site, &options, &e), &e);
    return volume;
}
