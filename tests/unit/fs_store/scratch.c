#include "tests/unit/fs_store/scratch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/clock.h"
#include "fs/base/hash.h"
#include "tests/unit/check.h"

#define PATIENCE_MS 60000

void scratch_dir(char out[SCRATCH_PATH])
{
    (void)snprintf(out, SCRATCH_PATH, "%s", check_directory());
}

void scratch_join(char out[SCRATCH_PATH], const char *directory, const char *name)
{
    CHECK(snprintf(out, SCRATCH_PATH, "%s/%s", directory, name) < SCRATCH_PATH);
}

struct store *scratch_store(char directory[SCRATCH_PATH])
{
    struct err e = ERR_INIT;
    struct store *s = NULL;
    scratch_dir(directory);
    CHECK_OK(store_file_open(&s, directory, BUCKET_MUST_EXIST, &e), &e);
    return s;
}

void scratch_fill(uint8_t *out, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (i / 64) % 2 ? (uint8_t)seed : (uint8_t)hash_u64(seed * 1000003 + i);
}

enum rc scratch_put(struct store *s, const char *key, const char *text)
{
    struct err e = ERR_INIT;
    struct bytes data = {(const uint8_t *)text, strlen(text)};
    return store_put(s, key, data, clock_deadline(PATIENCE_MS), &e);
}

enum rc scratch_get(struct store *s, const char *key, struct buf *out)
{
    struct err e = ERR_INIT;
    buf_clear(out);
    return store_get(s, key, 0, STORE_TO_END, out, clock_deadline(PATIENCE_MS), &e);
}

bool scratch_holds(struct store *s, const char *key, const char *text)
{
    auto_buf struct buf found;
    buf_init(&found, 1 << 20);
    return scratch_get(s, key, &found) == RC_OK && found.size == strlen(text) &&
           memcmp(found.data ? found.data : (const uint8_t *)"", text, found.size) == 0;
}

void scratch_write_file(const char *directory, const char *name, struct bytes data)
{
    char path[SCRATCH_PATH];
    scratch_join(path, directory, name);
    auto_close int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    CHECK(fd != -1);
    CHECK(write(fd, data.data, data.size) == (ssize_t)data.size);
}
